"""What Prometheus is told about the operator itself; `server.py` publishes it. For DreamBoothJobs see
`control/job_metrics.py`."""

from prometheus_client import Counter, Gauge, Histogram

PREFIX = "dreambooth_operator_"

RECONCILE_SECONDS = Histogram(
    PREFIX + "reconcile_seconds",
    "Seconds that looking at one DreamBoothJob took, requests to the API server included.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RECONCILE_ERRORS = Counter(PREFIX + "reconcile_errors", "Looks at a DreamBoothJob that must be repeated.", ["cause"])
QUEUE_DEPTH = Gauge(PREFIX + "queue_depth", "DreamBoothJobs that wait for a worker.")
QUEUE_LONGEST_WAIT = Gauge(
    PREFIX + "queue_longest_wait_seconds", "Seconds that the DreamBoothJob which waits longest has waited for a worker."
)
BUSY_WORKERS = Gauge(PREFIX + "busy_workers", "Workers that have a DreamBoothJob.")
STORED_OBJECTS = Gauge(PREFIX + "stored_objects", "Objects known from watches and lists.")
API_SECONDS = Histogram(
    PREFIX + "api_request_seconds",
    "Seconds until the API server had answered in full, watches and kopf's own lists left out. Code: none without an answer.",
    ["verb", "code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WRITES = Counter(PREFIX + "writes", "Requests to the API server that change something.", ["kind", "verb"])
STATUS_WRITES = Counter(PREFIX + "status_writes", "Writes of a DreamBoothJob's status.")
RESYNCS = Counter(PREFIX + "resyncs", "Complete lists of what is watched.", ["result"])
MISSED = Counter(PREFIX + "missed_changes", "DreamBoothJobs of which such a list showed what no watch had told.")
POLLS = Counter(
    PREFIX + "polls",
    "Questions to trainers about their progress, those included that their addresses forbid.",
    ["result"],
)
TRAINERS = Gauge(PREFIX + "running_trainers", "Trainers that are asked about their progress.")
LEADER = Gauge(PREFIX + "leader", "1 while this replica holds the Lease.")

# A rate can be told of what has been 0 before.
for cause in ("refused", "conflict", "cluster", "bug"):
    RECONCILE_ERRORS.labels(cause)
for result in ("ok", "invalid", "timeout", "unreachable", "refused"):
    POLLS.labels(result)
