"""`suspend`: a suspended job has no Job. Its pods save their state when they are deleted; resumed, the attempt gets a new Job."""

from datetime import datetime

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.status.conditions import find


def suspended_since(status: DreamBoothJobStatus) -> datetime | None:
    """Since when a job has been suspended; None if it isn't."""
    condition = find(status.conditions, "Suspended")
    return condition.last_transition_time if condition and condition.status == "True" else None


def suspended_seconds(before: DreamBoothJobStatus, suspended: bool, now: datetime) -> int:
    """How long a job was suspended after its start; grows when a suspension ends.

    Args:
        before: its status so far.
        suspended: whether it is suspended from now on.
        now: the end of the suspension, if it ends.
    """
    since = suspended_since(before)
    if since is None or suspended or before.start_time is None:
        return before.suspended_seconds
    return before.suspended_seconds + max(0, int((now - since).total_seconds()))
