"""`activeDeadlineSeconds`: how long a DreamBoothJob may take from the start of its first attempt, without suspensions. Used by
`decide/reconcile.py`."""

from datetime import datetime, timedelta

from dreambooth_operator.objects.names import ANNOTATION_DEADLINE
from dreambooth_operator.objects.observed import Object


def limit_of(attempt: Object) -> int | None:
    """The limit in seconds that the runtime of an attempt set when its Job was created."""
    value = str(attempt["metadata"].get("annotations", {}).get(ANNOTATION_DEADLINE, ""))
    return int(value) if value.isascii() and value.isdigit() else None


def deadline_of(start: datetime | None, seconds: int | None, suspended_seconds: int) -> datetime | None:
    """Deadline of a DreamBoothJob that is not suspended; None without a limit, or before the start.

    Args:
        start: start of the first pod.
        seconds: `activeDeadlineSeconds`.
        suspended_seconds: duration of suspensions after the start.
    """
    if seconds is None or start is None:
        return None
    # The status may contain any number; timedelta can't represent all of them.
    return start + timedelta(seconds=min(seconds + suspended_seconds, 10**9))
