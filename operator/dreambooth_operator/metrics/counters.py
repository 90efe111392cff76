"""Metrics about the operator itself; `server.py` exposes them. For metrics about workloads, see
`control/workload_metrics.py`."""

from prometheus_client import Counter, Gauge, Histogram

PREFIX = "dreambooth_operator_"

RECONCILE_SECONDS = Histogram(
    PREFIX + "reconcile_seconds",
    "Duration of a reconciliation of one workload, including its requests to the API server.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RECONCILE_ERRORS = Counter(PREFIX + "reconcile_errors", "Reconciliations that failed and will be retried.", ["cause"])
QUEUE_DEPTH = Gauge(PREFIX + "queue_depth", "Workloads in the work queue.")
QUEUE_LONGEST_WAIT = Gauge(
    PREFIX + "queue_longest_wait_seconds",
    "Time that the oldest workload in the work queue has waited for a worker.",
)
BUSY_WORKERS = Gauge(PREFIX + "busy_workers", "Workers that are reconciling a workload.")
LARGEST_BUSY_WORKERS = Gauge(
    PREFIX + "largest_busy_workers",
    "Number of workers that may be busy at the same time, by the answers of the API server.",
)
STORED_OBJECTS = Gauge(PREFIX + "stored_objects", "Objects in the cache.")
API_SECONDS = Histogram(
    PREFIX + "api_request_seconds",
    "Latency of requests to the API server, except watches and lists by kopf. The code is none if there was no response.",
    ["verb", "code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WRITES = Counter(PREFIX + "writes", "Write requests to the API server.", ["kind", "verb"])
STATUS_WRITES = Counter(PREFIX + "status_writes", "Writes to the status of workloads.")
RESYNCS = Counter(
    PREFIX + "resyncs",
    "Lists of all watched kinds. The result is partial if only some of the watched namespaces could be listed.",
    ["result"],
)
UNLISTED_NAMESPACES = Gauge(
    PREFIX + "unlisted_namespaces", "Watched namespaces that could not be listed last time: deleted, or not permitted."
)
MISSED_CHANGES = Counter(
    PREFIX + "missed_changes", "Workloads with changes that a list found and the watches had missed."
)
POLLS = Counter(
    PREFIX + "polls",
    "Polls of trainers for their progress, including those that were skipped because of the address.",
    ["result"],
)
RUNNING_TRAINERS = Gauge(PREFIX + "running_trainers", "Running trainers that are polled for their progress.")
OTHER_OPERATORS = Gauge(
    PREFIX + "other_operators",
    "Other operators that serve the same DreamBoothJobs, noticed since this replica became the leader.",
)
LEADER = Gauge(PREFIX + "leader", "1 while this replica holds the Lease.")

# Start each series at 0, so that rate() counts the first increase.
for cause in ("refused", "conflict", "cluster", "bug"):
    RECONCILE_ERRORS.labels(cause)
for result in ("ok", "partial", "error"):
    RESYNCS.labels(result)
for result in ("ok", "invalid", "timeout", "unreachable", "refused", "bug"):
    POLLS.labels(result)
