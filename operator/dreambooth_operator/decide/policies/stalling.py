"""`progressDeadlineSeconds`: an attempt without progress for so long ends, and counts as a failure.

A collective operation that hangs holds the GPUs of all nodes without end, and only pods of a single node have a liveness probe.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from dreambooth_operator.decide.policies.attempts import History
from dreambooth_operator.decide.status.endings import STALLED
from dreambooth_operator.decide.status.reasons import NO_PROGRESS
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import index_of, is_being_deleted, is_controlled_by, state_of, time_of, uid_of


def stalls_at(
    history: History, job: Object | None, pods: Sequence[Object], progress_since: datetime | None, seconds: int | None
) -> datetime | None:
    """When the current attempt ends if it makes no progress; None: it has no such deadline now.

    Args:
        history: the records of the attempts.
        job: the Job of the newest attempt.
        pods: the pods of the workload.
        progress_since: since when the operator knows no other progress of the main pod.
        seconds: `progressDeadlineSeconds`.
    """
    open_ = history.attempts and history.attempts[-1].completion_time is None
    if not open_ or job is None or is_being_deleted(job) or progress_since is None or seconds is None:
        return None
    own = [pod for pod in pods if is_controlled_by(pod, uid_of(job)) and not is_being_deleted(pod)]
    main = [pod for pod in own if index_of(pod) == "0"]
    starts = [time_of((state_of(pod, "running") or {}).get("startedAt")) for pod in main]
    start = max((time for time in starts if time), default=None)
    return max(start, progress_since) + timedelta(seconds=seconds) if start else None


def stalled(history: History, seconds: int | None, now: datetime) -> History:
    """The records after the current attempt has ended because it made no progress."""
    message = NO_PROGRESS.format(seconds=seconds)
    end = {"completion_time": now, "reason": STALLED, "message": message}
    attempts = [*history.attempts[:-1], history.attempts[-1].model_copy(update=end)]
    return history._replace(attempts=attempts, failures=history.failures + 1)
