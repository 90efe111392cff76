"""Metrics about workloads, by namespace. No metric has the name of a workload as a label.

`main.py` registers them in the leader; `writer.py` reports each new status. Gauges are computed from the cache at each scrape, so
deleted workloads disappear from them. Counters and histograms are updated when a transition is written to a status, so
neither a restart nor another leader counts it again.
"""

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_api.status import DreamBoothJobStatus, WorkloadStatus
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
"""Time for which the series of a namespace are kept after its last workload was deleted, so that alerts can use them."""
WAITING = "Pending", "Queued", "Starting", "Retrying"
"""Phases of workloads that wait to run."""
BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400)

_EARLY = reasons.COMPLETE, reasons.DEADLINE_EXCEEDED, reasons.PENDING_DEADLINE_EXCEEDED, reasons.INVALID_CONFIG
_EARLY_ENDS = {reason.reason for reason in _EARLY}
_FAILURES = {*CLASSES, INTERNAL_ERROR, KILLED, POD_FAILED, STALLED, STOPPED_UNEXPECTEDLY}
END_REASONS = sorted((_EARLY_ENDS | _FAILURES) - {INTERRUPTED})
"""Reasons for which workloads end."""
OTHER = "Other"
"""Label value for unknown reasons: users who may write a status must not be able to create any number of series."""
_KNOWN = {*END_REASONS, *(one.reason for one in vars(reasons).values() if isinstance(one, Reason))}


class StatusSummary(NamedTuple):
    """The parts of a status that metrics are computed from."""

    owner: Object
    """The workload with the status."""
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

    @property
    def namespace(self) -> str:
        """Namespace of the workload."""
        return str(self.owner["metadata"]["namespace"])


class _Families:
    """The metrics about one kind of workload.

    Args:
        kind: the kind.
        noun: what the names of its metrics have for it.
    """

    def __init__(self, kind: str, noun: str) -> None:
        self._kind = kind
        self._noun = noun
        self._finished = Counter(
            f"dreambooth_{noun}s_finished",
            f"{kind}s that completed or failed.",
            ["namespace", "reason"],
            registry=None,
        )
        self._queueing = Histogram(
            f"dreambooth_{noun}_queueing_seconds",
            f"Time from the creation of a {kind} until its first pod started on a node.",
            ["namespace"],
            buckets=BUCKETS,
            registry=None,
        )

    def add(self, namespace: str) -> None:
        """Starts each series at 0, so that rate() counts the first increase."""
        self._queueing.labels(namespace)
        for reason in END_REASONS:
            self._finished.labels(namespace, reason)

    def remove(self, namespace: str) -> None:
        """Removes the series of a namespace."""
        self._queueing.remove(namespace)
        for reason in (*END_REASONS, OTHER):
            self._finished.remove(namespace, reason)

    def observe(self, namespace: str, created: datetime, before: WorkloadStatus, after: WorkloadStatus) -> None:
        """Counts the transitions to a new status."""
        if after.start_time and not before.start_time:
            self._queueing.labels(namespace).observe(_seconds(created, after.start_time))
        if after.completion_time and not before.completion_time:
            reason = _reason(after)
            self._finished.labels(namespace, reason if reason in END_REASONS else OTHER).inc()

    def collect(self, summaries: Sequence[StatusSummary], now: datetime) -> Iterator[Metric]:
        """Collects all metrics of the kind, whose statuses have these summaries."""
        yield self._count(summaries)
        yield from self._waits(summaries, now)
        yield from self._finished.collect()
        yield from self._queueing.collect()

    def _count(self, summaries: Sequence[StatusSummary]) -> Metric:
        family = GaugeMetricFamily(
            f"dreambooth_{self._noun}s",
            f"{self._kind}s by phase and reason of their status; the reason is empty before the first reconciliation.",
            labels=["namespace", "phase", "reason"],
        )
        for labels, number in Tally((one.namespace, one.phase, one.reason) for one in summaries).items():
            family.add_metric(labels, number)
        return family

    def _waits(self, summaries: Sequence[StatusSummary], now: datetime) -> Iterator[Metric]:
        wait = GaugeMetricFamily(
            f"dreambooth_{self._noun}s_longest_wait_seconds",
            f"Longest time that a {self._kind} has been waiting to run, by its current phase and reason.",
            labels=["namespace", "phase", "reason"],
        )
        silence = GaugeMetricFamily(
            f"dreambooth_{self._noun}s_longest_silence_seconds",
            f"Longest time since the progress of a running {self._kind} changed.",
            labels=["namespace"],
        )
        waits: dict[tuple[str, str, str], float] = {}
        silences: dict[str, float] = {}
        for one in summaries:
            seconds = _seconds(one.since, now)
            if one.phase in WAITING:
                labels = one.namespace, one.phase, one.reason
                waits[labels] = max(seconds, waits.get(labels, 0.0))
            elif one.phase == "Running":
                silences[one.namespace] = max(seconds, silences.get(one.namespace, 0.0))
        for labels, seconds in waits.items():
            wait.add_metric(labels, seconds)
        for namespace, seconds in silences.items():
            silence.add_metric([namespace], seconds)
        yield wait
        yield silence


class WorkloadMetrics(Collector):
    """All metrics about workloads.

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
        self._families = {KIND: _Families(KIND, "job"), SCENE_KIND: _Families(SCENE_KIND, "scene")}
        self._first_step = Histogram(
            "dreambooth_job_first_step_seconds",
            "Time from the creation of a DreamBoothJob until its first training step was observed.",
            ["namespace"],
            buckets=BUCKETS,
            registry=None,
        )

    def observe(self, owner: Object, status: Object) -> None:
        """Counts the transitions to a new status.

        Args:
            owner: the workload with its previous status.
            status: the new status.
        """
        namespace, now = owner["metadata"]["namespace"], self._clock()
        self._update_namespaces({namespace}, now)
        before, after = stored_status(owner), stored_status({"kind": owner["kind"], "status": status})
        created = time_of(owner["metadata"]["creationTimestamp"]) or now
        self._families[owner["kind"]].observe(namespace, created, before, after)
        if after.phase == "Running" and _trains(after) and not _trains(before):
            self._first_step.labels(namespace).observe(_seconds(created, now))

    def collect(self) -> Iterator[Metric]:
        """Collects all metrics."""
        now, keys = self._clock(), self._store.keys()
        self._summaries = {key: summary for key in keys if (summary := self._read(key))}
        self._update_namespaces({key.namespace for key in self._summaries}, now)
        self._add_gpu_time(now)
        for kind, families in self._families.items():
            yield from families.collect([one for key, one in self._summaries.items() if key.kind == kind], now)
        seconds = CounterMetricFamily(
            "dreambooth_gpu_seconds",
            "GPU-seconds held by pods since this replica became the leader.",
            labels=["namespace"],
        )
        for namespace in sorted(self._namespaces):
            seconds.add_metric([namespace], self._gpu_seconds[namespace])
        yield seconds
        yield from self._first_step.collect()

    def _read(self, key: Key) -> StatusSummary | None:
        owner, known = self._store.owner(key), self._summaries.get(key)
        # Objects in the cache are never modified, only replaced: most are the same as at the previous scrape.
        return known if known and known.owner is owner else summary_of(owner) if owner else None

    def _update_namespaces(self, namespaces: set[str], now: datetime) -> None:
        """Starts the series of new namespaces, and removes those of namespaces without workloads."""
        for namespace in namespaces - self._namespaces.keys():
            self._first_step.labels(namespace)
            for families in self._families.values():
                families.add(namespace)
        self._namespaces |= dict.fromkeys(namespaces, now)
        for namespace, seen in list(self._namespaces.items()):
            if _seconds(seen, now) > NAMESPACE_SECONDS:
                del self._namespaces[namespace]
                self._gpu_seconds.pop(namespace, None)
                self._first_step.remove(namespace)
                for families in self._families.values():
                    families.remove(namespace)

    def _add_gpu_time(self, now: datetime) -> None:
        """Adds the GPU time since the previous scrape; GPU time before the first scrape is not counted.

        A sum over all statuses would decrease when workloads are deleted, and Prometheus would interpret that as a counter
        reset. If a workload is deleted while it is running, its GPU time since the previous scrape is lost.
        """
        used = {uid_of(summary.owner): _gpu_seconds(summary, now) for summary in self._summaries.values()}
        before = used if self._used is None else self._used
        for summary in self._summaries.values():
            uid = uid_of(summary.owner)
            # A period may have ended shortly before the previous scrape.
            used[uid] = max(used[uid], before.get(uid, 0.0))
            self._gpu_seconds[summary.namespace] += used[uid] - before.get(uid, 0.0)
        self._used = used


def summary_of(owner: Object) -> StatusSummary:
    """The summary of the status of a workload."""
    status = stored_status(owner)
    running, suspended = find(status.conditions, "Running"), find(status.conditions, "Suspended")
    transitions = [one.last_transition_time for one in (running, suspended) if one]
    updated = status.progress.updated_at if status.progress and status.phase == "Running" else None
    created = time_of(owner["metadata"]["creationTimestamp"])
    since = latest([*transitions, updated]) or created
    assert since is not None, "the API server sets creationTimestamp"
    return StatusSummary(
        owner=owner,
        phase=status.phase or "Pending",
        reason=_reason(status),
        since=since,
        gpu_seconds=status.gpu_seconds,
        gpus_since=status.gpus_held_since,
        gpus=gpus_of(owner) if status.gpus_held_since else 0,
    )


def _reason(status: WorkloadStatus) -> str:
    """The reason of the phase, from the condition Running."""
    running = find(status.conditions, "Running")
    if running is None:
        return ""
    return running.reason if running.reason in _KNOWN else OTHER


def _trains(status: WorkloadStatus) -> bool:
    """Whether a training has begun its steps."""
    progress = status.progress if isinstance(status, DreamBoothJobStatus) else None
    return progress is not None and progress.step > 0


def _gpu_seconds(summary: StatusSummary, now: datetime) -> float:
    current = _seconds(summary.gpus_since, now) * summary.gpus if summary.gpus_since else 0.0
    return summary.gpu_seconds + current


def _seconds(begin: datetime, end: datetime) -> float:
    """Seconds between two times, at least 0: the clocks of two machines may differ."""
    return max(0.0, (end - begin).total_seconds())
