"""`activeDeadlineSeconds`: how long a workload may take from the start of its first pod on a node.

Suspensions and time in the queue do not count. `pending.py` has the deadline for the time before. Used by `decide/reconcile.py`.
"""

from datetime import datetime, timedelta

from dreambooth_operator.objects.names import ANNOTATION_DEADLINE
from dreambooth_operator.objects.observed import Object


def limit_of(attempt: Object) -> int | None:
    """The limit in seconds that the runtime of an attempt set when its Job was created."""
    return default_of(attempt, ANNOTATION_DEADLINE)


def default_of(attempt: Object | None, annotation: str) -> int | None:
    """The seconds in an annotation that the runtime of an attempt set when its Job was created."""
    if attempt is None:
        return None
    value = str(attempt["metadata"].get("annotations", {}).get(annotation, ""))
    return int(value) if value.isascii() and value.isdigit() else None


def deadline_of(start: datetime | None, seconds: int | None, waited_seconds: int) -> datetime | None:
    """Deadline of a workload that is neither suspended nor queued; None without a limit, or before the start.

    Args:
        start: start of the first pod.
        seconds: `activeDeadlineSeconds`.
        waited_seconds: duration of suspensions and of waits in the queue after the start.
    """
    if seconds is None or start is None:
        return None
    # The status may contain any number; timedelta can't represent all of them.
    return start + timedelta(seconds=min(seconds + waited_seconds, 10**9))
