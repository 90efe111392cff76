"""Metrics about DreamBoothJobs, by namespace. No metric has the name of a DreamBoothJob as a label.

`main.py` registers them in the leader; `writer.py` reports each new status. Gauges are computed from the cache at each scrape, so
deleted DreamBoothJobs disappear from them. Counters and histograms are updated when a transition is written to a status, so
neither a restart nor another leader counts it again.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.compose import gpus_of
from dreambooth_operator.decide.status.conditions import find
from dreambooth_operator.decide.status.endings import INTERRUPTED, KILLED, POD_FAILED, STALLED, STOPPED_UNEXPECTEDLY
from dreambooth_operator.decide.status.reasons import Reason
from dreambooth_operator.decide.status.stored import stored_status
from dreambooth_operator.decide.status.termination_message import CLASSES, INTERNAL_ERROR
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.objects.observed import Key, Object
from dreambooth_operator.objects.reading import latest, time_of, uid_of

NAMESPACE_SECONDS = 3600.0
"""Time for which the series of a namespace are kept after its last DreamBoothJob was deleted, so that alerts can use them."""
WAITING = "Pending", "Queued", "Starting", "Retrying"
"""Phases of DreamBoothJobs that wait to run."""
BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400)

_EARLY = reasons.COMPLETE, reasons.DEADLINE_EXCEEDED, reasons.PENDING_DEADLINE_EXCEEDED, reasons.INVALID_CONFIG
_EARLY_ENDS = {reason.reason for reason in _EARLY}
_FAILURES = {*CLASSES, INTERNAL_ERROR, KILLED, POD_FAILED, STALLED, STOPPED_UNEXPECTEDLY}
END_REASONS = sorted((_EARLY_ENDS | _FAILURES) - {INTERRUPTED})
"""Reasons for which DreamBoothJobs end."""
OTHER = "Other"
"""Label value for unknown reasons: users who may write a status must not be able to create any number of series."""
_KNOWN = {*END_REASONS, *(one.reason for one in vars(reasons).values() if isinstance(one, Reason))}


class StatusSummary(NamedTuple):
    """The parts of a status that metrics are computed from."""

    dreamboothjob: Object
    """The DreamBoothJob with the status."""
    phase: str
    reason: str
    since: datetime
    """Start of the current wait; while it is running, time of the last change of its progress."""
    gpu_seconds: float
    """GPU-seconds of all past periods."""
    gpus_since: datetime | None
    """Start of the current period."""
    gpus: int
    """Number of GPUs in the current period."""


class DreamBoothJobMetrics(Collector):
    """All metrics about DreamBoothJobs.

    Args:
        store: the cache.
        clock: the clock.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._clock = clock
        self._summaries: dict[Key, StatusSummary] = {}
        self._used: dict[str, float] | None = None
        self._gpu_seconds: defaultdict[str, float] = defaultdict(float)
        self._namespaces: dict[str, datetime] = {}
        self._finished = Counter(
            "dreambooth_jobs_finished",
            "DreamBoothJobs that completed or failed.",
            ["namespace", "reason"],
            registry=None,
        )
        self._queueing = Histogram(
            "dreambooth_job_queueing_seconds",
            "Time from the creation of a DreamBoothJob until its first pod started on a node.",
            ["namespace"],
            buckets=BUCKETS,
            registry=None,
        )
        self._first_step = Histogram(
            "dreambooth_job_first_step_seconds",
            "Time from the creation of a DreamBoothJob until its first training step was observed.",
            ["namespace"],
            buckets=BUCKETS,
            registry=None,
        )

    def observe(self, dreamboothjob: Object, status: Object) -> None:
        """Counts the transitions to a new status.

        Args:
            dreamboothjob: the DreamBoothJob with its previous status.
            status: the new status.
        """
        namespace, now = dreamboothjob["metadata"]["namespace"], self._clock()
        self._update_namespaces({namespace}, now)
        before, after = stored_status(dreamboothjob), stored_status({"status": status})
        created = time_of(dreamboothjob["metadata"]["creationTimestamp"]) or now
        if after.start_time and not before.start_time:
            self._queueing.labels(namespace).observe(_seconds(created, after.start_time))
        if after.phase == "Running" and _step(after) and not _step(before):
            self._first_step.labels(namespace).observe(_seconds(created, now))
        if after.completion_time and not before.completion_time:
            reason = _reason(after)
            self._finished.labels(namespace, reason if reason in END_REASONS else OTHER).inc()

    def collect(self) -> Iterator[Metric]:
        """Collects all metrics."""
        now = self._clock()
        keys = self._store.keys()
        self._summaries = {key: summary for key in keys if (summary := self._read(key))}
        self._update_namespaces({key.namespace for key in self._summaries}, now)
        self._add_gpu_time(now)
        yield self._count()
        yield from self._waits(now)
        seconds = CounterMetricFamily(
            "dreambooth_gpu_seconds",
            "GPU-seconds held by pods of DreamBoothJobs since this replica became the leader.",
            labels=["namespace"],
        )
        for namespace in sorted(self._namespaces):
            seconds.add_metric([namespace], self._gpu_seconds[namespace])
        yield seconds
        for metric in (self._finished, self._queueing, self._first_step):
            yield from metric.collect()

    def _read(self, key: Key) -> StatusSummary | None:
        dreamboothjob, known = self._store.dreamboothjob(key), self._summaries.get(key)
        # Objects in the cache are never modified, only replaced: most are the same as at the previous scrape.
        return (
            known
            if known and known.dreamboothjob is dreamboothjob
            else summary_of(dreamboothjob)
            if dreamboothjob
            else None
        )

    def _update_namespaces(self, namespaces: set[str], now: datetime) -> None:
        """Starts the series of new namespaces, and removes those of namespaces without DreamBoothJobs."""
        for namespace in namespaces - self._namespaces.keys():
            # Start each series at 0, so that rate() counts the first increase.
            self._queueing.labels(namespace)
            self._first_step.labels(namespace)
            for reason in END_REASONS:
                self._finished.labels(namespace, reason)
        self._namespaces |= dict.fromkeys(namespaces, now)
        for namespace, seen in list(self._namespaces.items()):
            if _seconds(seen, now) > NAMESPACE_SECONDS:
                del self._namespaces[namespace]
                self._gpu_seconds.pop(namespace, None)
                self._queueing.remove(namespace)
                self._first_step.remove(namespace)
                for reason in (*END_REASONS, OTHER):
                    self._finished.remove(namespace, reason)

    def _add_gpu_time(self, now: datetime) -> None:
        """Adds the GPU time since the previous scrape; GPU time before the first scrape is not counted.

        A sum over all statuses would decrease when DreamBoothJobs are deleted, and Prometheus would interpret that as a counter
        reset. If a DreamBoothJob is deleted while it is running, its GPU time since the previous scrape is lost.
        """
        used = {uid_of(summary.dreamboothjob): _gpu_seconds(summary, now) for summary in self._summaries.values()}
        before = used if self._used is None else self._used
        for summary in self._summaries.values():
            uid = uid_of(summary.dreamboothjob)
            # A period may have ended shortly before the previous scrape.
            used[uid] = max(used[uid], before.get(uid, 0.0))
            self._gpu_seconds[summary.dreamboothjob["metadata"]["namespace"]] += used[uid] - before.get(uid, 0.0)
        self._used = used

    def _count(self) -> Metric:
        family = GaugeMetricFamily(
            "dreambooth_jobs",
            "DreamBoothJobs by phase and reason of their status; the reason is empty before the first reconciliation.",
            labels=["namespace", "phase", "reason"],
        )
        for labels, number in Tally(
            (key.namespace, summary.phase, summary.reason) for key, summary in self._summaries.items()
        ).items():
            family.add_metric(labels, number)
        return family

    def _waits(self, now: datetime) -> Iterator[Metric]:
        wait = GaugeMetricFamily(
            "dreambooth_jobs_longest_wait_seconds",
            "Longest time that a DreamBoothJob has been waiting to run, by its current phase and reason.",
            labels=["namespace", "phase", "reason"],
        )
        silence = GaugeMetricFamily(
            "dreambooth_jobs_longest_silence_seconds",
            "Longest time since the progress of a running DreamBoothJob changed.",
            labels=["namespace"],
        )
        waits: dict[tuple[str, str, str], float] = {}
        silences: dict[str, float] = {}
        for key, summary in self._summaries.items():
            seconds = _seconds(summary.since, now)
            if summary.phase in WAITING:
                labels = key.namespace, summary.phase, summary.reason
                waits[labels] = max(seconds, waits.get(labels, 0.0))
            elif summary.phase == "Running":
                silences[key.namespace] = max(seconds, silences.get(key.namespace, 0.0))
        for labels, seconds in waits.items():
            wait.add_metric(labels, seconds)
        for namespace, seconds in silences.items():
            silence.add_metric([namespace], seconds)
        yield wait
        yield silence


def summary_of(dreamboothjob: Object) -> StatusSummary:
    """The summary of the status of a DreamBoothJob."""
    status = stored_status(dreamboothjob)
    running, suspended = find(status.conditions, "Running"), find(status.conditions, "Suspended")
    transitions = [one.last_transition_time for one in (running, suspended) if one]
    updated = status.progress.updated_at if status.progress and status.phase == "Running" else None
    created = time_of(dreamboothjob["metadata"]["creationTimestamp"])
    since = latest([*transitions, updated]) or created
    assert since is not None, "the API server sets creationTimestamp"
    return StatusSummary(
        dreamboothjob=dreamboothjob,
        phase=status.phase or "Pending",
        reason=_reason(status),
        since=since,
        gpu_seconds=status.gpu_seconds,
        gpus_since=status.gpus_held_since,
        gpus=gpus_of(dreamboothjob) if status.gpus_held_since else 0,
    )


def _reason(status: DreamBoothJobStatus) -> str:
    """The reason of the phase, from the condition Running."""
    running = find(status.conditions, "Running")
    if running is None:
        return ""
    return running.reason if running.reason in _KNOWN else OTHER


def _step(status: DreamBoothJobStatus) -> int:
    return status.progress.step if status.progress else 0


def _gpu_seconds(summary: StatusSummary, now: datetime) -> float:
    current = _seconds(summary.gpus_since, now) * summary.gpus if summary.gpus_since else 0.0
    return summary.gpu_seconds + current


def _seconds(begin: datetime, end: datetime) -> float:
    """Seconds between two times, at least 0: the clocks of two machines may differ."""
    return max(0.0, (end - begin).total_seconds())
