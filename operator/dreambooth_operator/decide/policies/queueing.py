"""Time in the queue of Kueue after the start, for example after a preemption: it does not count for the deadline."""

from datetime import datetime
from typing import NamedTuple

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import condition_of, is_being_deleted, is_finished, time_of


class QueueTime(NamedTuple):
    """Time in the queue, in the status."""

    seconds: int
    """Seconds of all past waits after the start."""
    since: datetime | None
    """Start of the current wait."""


def is_queued(job: Object | None) -> bool:
    """Whether a Job waits for its admission: it is suspended, by Kueue or by hand."""
    if job is None or is_finished(job) or is_being_deleted(job):
        return False
    return bool(job.get("spec", {}).get("suspend"))


def queue_time(before: WorkloadStatus, started: bool, job: Object | None, now: datetime) -> QueueTime:
    """Updates the time in the queue.

    Args:
        before: the previous status.
        started: whether a pod has ever started; earlier waits can't count for the deadline.
        job: the Job of the newest attempt; None while the workload is suspended.
        now: the time, which is the end of a wait that is over.
    """
    since, known = before.queued_since, before.queued_seconds or 0
    if is_queued(job) and started:
        suspended = time_of((condition_of(job, "Suspended") or {}).get("lastTransitionTime")) if job else None
        return QueueTime(known, since or min(suspended or now, now))
    if since is None:
        return QueueTime(known, None)
    return QueueTime(known + max(0, int((now - since).total_seconds())), None)
