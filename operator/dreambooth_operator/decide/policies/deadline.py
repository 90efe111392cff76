"""`activeDeadlineSeconds`: how long a job may take from the start of its first attempt, suspension not counted. Used by
`decide/reconcile.py`."""

from datetime import datetime, timedelta

from dreambooth_operator.objects.names import ANNOTATION_DEADLINE
from dreambooth_operator.objects.observed import Object


def limit_of(attempt: Object) -> int | None:
    """The seconds that the runtime of an attempt allowed when its Job was made."""
    said = str(attempt["metadata"].get("annotations", {}).get(ANNOTATION_DEADLINE, ""))
    return int(said) if said.isascii() and said.isdigit() else None


def deadline_of(start: datetime | None, seconds: int | None, suspended_seconds: int) -> datetime | None:
    """When a job that is not suspended must have ended; None where nothing limits it or it has not started.

    Args:
        start: when its first pod started.
        seconds: `activeDeadlineSeconds`.
        suspended_seconds: how long it was suspended since.
    """
    if seconds is None or start is None:
        return None
    # What the status says of the suspension may be beyond all bounds.
    return start + timedelta(seconds=min(seconds + suspended_seconds, 10**9))
