"""What Prometheus is told about DreamBoothJobs, by namespace and never by job.

`main.py` registers it in the replica that leads; `writer.py` tells it of each new status. What a job is now is counted anew at
each scrape, so that what is gone is told no more. What happened once is counted when the status that says so is written: the
status is the memory, and neither a restart nor another leader counts it again.
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
from dreambooth_operator.decide.status.endings import INTERRUPTED, KILLED, POD_FAILED
from dreambooth_operator.decide.status.reasons import Reason
from dreambooth_operator.decide.status.stored import stored_status
from dreambooth_operator.decide.status.termination_message import CLASSES, INTERNAL_ERROR
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.objects.observed import Key, Object
from dreambooth_operator.objects.reading import latest, time_of, uid_of

KEPT_SECONDS = 3600.0
"""How long a namespace is told of after its last job is gone: long enough for alerts about what happened in it."""
WAITING = "Pending", "Queued", "Starting", "Retrying"
"""Phases of jobs that shall run and don't."""
BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400)

_EARLY_ENDS = {reason.reason for reason in (reasons.COMPLETE, reasons.DEADLINE_EXCEEDED, reasons.INVALID_CONFIG)}
ENDS = sorted((_EARLY_ENDS | {*CLASSES, INTERNAL_ERROR, KILLED, POD_FAILED}) - {INTERRUPTED})
"""Reasons for which jobs end."""
OTHER = "Other"
"""Stands for a reason that this operator does not give: whoever may write a status can't make series at will."""
_KNOWN = {*ENDS, *(one.reason for one in vars(reasons).values() if isinstance(one, Reason))}


class Told(NamedTuple):
    """What the status of a job says, as far as it is counted."""

    job: Object
    """The job that it was read from."""
    phase: str
    reason: str
    since: datetime
    """Since when the job waits, or since when nothing new was heard of it while it runs."""
    gpu_seconds: float
    """GPU-seconds of the stretches that are over."""
    gpus_since: datetime | None
    """Begin of the stretch that goes on."""
    gpus: int
    """GPUs that it holds then."""


class JobMetrics(Collector):
    """All metrics about DreamBoothJobs.

    Args:
        store: where the jobs are.
        clock: the time.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._clock = clock
        self._told: dict[Key, Told] = {}
        self._used: dict[str, float] | None = None
        self._gpu_seconds: defaultdict[str, float] = defaultdict(float)
        self._namespaces: dict[str, datetime] = {}
        self._finished = Counter(
            "dreambooth_jobs_finished", "DreamBoothJobs that ended.", ["namespace", "reason"], registry=None
        )
        self._queueing = Histogram(
            "dreambooth_job_queueing_seconds",
            "Seconds from the creation of a DreamBoothJob until a node took its first pod.",
            ["namespace"],
            buckets=BUCKETS,
            registry=None,
        )
        self._first_step = Histogram(
            "dreambooth_job_first_step_seconds",
            "Seconds from the creation of a DreamBoothJob until its first training step was known.",
            ["namespace"],
            buckets=BUCKETS,
            registry=None,
        )

    def note(self, job: Object, status: Object) -> None:
        """Counts what a new status says for the first time.

        Args:
            job: the job with the status before.
            status: the status that was written.
        """
        namespace, now = job["metadata"]["namespace"], self._clock()
        self._keep({namespace}, now)
        before, after = stored_status(job), stored_status({"status": status})
        created = time_of(job["metadata"]["creationTimestamp"]) or now
        if after.start_time and not before.start_time:
            self._queueing.labels(namespace).observe(_seconds(created, after.start_time))
        if after.phase == "Running" and _step(after) and not _step(before):
            self._first_step.labels(namespace).observe(_seconds(created, now))
        if after.completion_time and not before.completion_time:
            reason = _reason(after)
            self._finished.labels(namespace, reason if reason in ENDS else OTHER).inc()

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now."""
        now = self._clock()
        keys = self._store.keys()
        self._told = {key: told for key in keys if (told := self._read(key))}
        self._keep({key.namespace for key in self._told}, now)
        self._meter(now)
        yield self._count()
        yield from self._waits(now)
        seconds = CounterMetricFamily(
            "dreambooth_gpu_seconds",
            "Seconds that pods of DreamBoothJobs held GPUs, times their number, since this replica leads.",
            labels=["namespace"],
        )
        for namespace in sorted(self._namespaces):
            seconds.add_metric([namespace], self._gpu_seconds[namespace])
        yield seconds
        for metric in (self._finished, self._queueing, self._first_step):
            yield from metric.collect()

    def _read(self, key: Key) -> Told | None:
        job, known = self._store.dreamboothjob(key), self._told.get(key)
        # Objects in the store are never changed, only replaced: most are the same as at the scrape before.
        return known if known and known.job is job else told_of(job) if job else None

    def _keep(self, namespaces: set[str], now: datetime) -> None:
        """Takes namespaces into the account, and those out of it that have had no job for long."""
        for namespace in namespaces - self._namespaces.keys():
            # A rate can be told of what has been 0 before.
            self._queueing.labels(namespace)
            self._first_step.labels(namespace)
            for reason in ENDS:
                self._finished.labels(namespace, reason)
        self._namespaces |= dict.fromkeys(namespaces, now)
        for namespace, seen in list(self._namespaces.items()):
            if _seconds(seen, now) > KEPT_SECONDS:
                del self._namespaces[namespace]
                self._gpu_seconds.pop(namespace, None)
                self._queueing.remove(namespace)
                self._first_step.remove(namespace)
                for reason in (*ENDS, OTHER):
                    self._finished.remove(namespace, reason)

    def _meter(self, now: datetime) -> None:
        """Adds the GPU time since the scrape before; what jobs had used before the first scrape is not counted.

        A counter that began with the sum of all statuses would fall when jobs are deleted, which Prometheus would take for a
        restart that counts everything again. Of a job that is deleted while it runs, the time since the last scrape is lost.
        """
        used = {uid_of(told.job): _gpu_seconds(told, now) for told in self._told.values()}
        before = used if self._used is None else self._used
        for told in self._told.values():
            uid = uid_of(told.job)
            # A stretch may turn out to have ended a little before now.
            used[uid] = max(used[uid], before.get(uid, 0.0))
            self._gpu_seconds[told.job["metadata"]["namespace"]] += used[uid] - before.get(uid, 0.0)
        self._used = used

    def _count(self) -> Metric:
        family = GaugeMetricFamily(
            "dreambooth_jobs",
            "DreamBoothJobs by what their status says; without a reason where no operator has looked yet.",
            labels=["namespace", "phase", "reason"],
        )
        for labels, number in Tally(
            (key.namespace, told.phase, told.reason) for key, told in self._told.items()
        ).items():
            family.add_metric(labels, number)
        return family

    def _waits(self, now: datetime) -> Iterator[Metric]:
        wait = GaugeMetricFamily(
            "dreambooth_jobs_longest_wait_seconds",
            "Seconds that the job which waits longest has not been running, by the phase and reason that it is in now.",
            labels=["namespace", "phase", "reason"],
        )
        silence = GaugeMetricFamily(
            "dreambooth_jobs_longest_silence_seconds",
            "Seconds since the progress of a running job last changed, of the job of which this is longest.",
            labels=["namespace"],
        )
        waits: dict[tuple[str, str, str], float] = {}
        silences: dict[str, float] = {}
        for key, told in self._told.items():
            seconds = _seconds(told.since, now)
            if told.phase in WAITING:
                labels = key.namespace, told.phase, told.reason
                waits[labels] = max(seconds, waits.get(labels, 0.0))
            elif told.phase == "Running":
                silences[key.namespace] = max(seconds, silences.get(key.namespace, 0.0))
        for labels, seconds in waits.items():
            wait.add_metric(labels, seconds)
        for namespace, seconds in silences.items():
            silence.add_metric([namespace], seconds)
        yield wait
        yield silence


def told_of(job: Object) -> Told:
    """What the status of a job says."""
    status = stored_status(job)
    running, suspended = find(status.conditions, "Running"), find(status.conditions, "Suspended")
    transitions = [one.last_transition_time for one in (running, suspended) if one]
    heard = status.progress.updated_at if status.progress and status.phase == "Running" else None
    created = time_of(job["metadata"]["creationTimestamp"])
    since = latest([*transitions, heard]) or created
    assert since is not None, "the API server sets creationTimestamp"
    return Told(
        job=job,
        phase=status.phase or "Pending",
        reason=_reason(status),
        since=since,
        gpu_seconds=status.gpu_seconds,
        gpus_since=status.gpus_held_since,
        gpus=gpus_of(job) if status.gpus_held_since else 0,
    )


def _reason(status: DreamBoothJobStatus) -> str:
    """The reason of the phase: the condition Running has it, whether it holds or not."""
    running = find(status.conditions, "Running")
    if running is None:
        return ""
    return running.reason if running.reason in _KNOWN else OTHER


def _step(status: DreamBoothJobStatus) -> int:
    return status.progress.step if status.progress else 0


def _gpu_seconds(told: Told, now: datetime) -> float:
    going_on = _seconds(told.gpus_since, now) * told.gpus if told.gpus_since else 0.0
    return told.gpu_seconds + going_on


def _seconds(begin: datetime, end: datetime) -> float:
    """Seconds between two times; of two clocks, the end may seem to come first."""
    return max(0.0, (end - begin).total_seconds())
