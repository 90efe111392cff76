"""`suspend`: a suspended workload has no Job. Its pods save a checkpoint when they are deleted. When it is resumed, the same
attempt gets a new Job."""

from datetime import datetime

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.decide.status.conditions import find


def suspended_since(status: WorkloadStatus) -> datetime | None:
    """Start of the current suspension; None if the workload is not suspended."""
    condition = find(status.conditions, "Suspended")
    return condition.last_transition_time if condition and condition.status == "True" else None


def suspended_seconds(before: WorkloadStatus, suspended: bool, now: datetime) -> int:
    """Total duration of the suspensions after the start; it is updated when a suspension ends.

    Args:
        before: the status so far.
        suspended: whether `spec.suspend` is set.
        now: the time.
    """
    since = suspended_since(before)
    if since is None or suspended or before.start_time is None:
        return before.suspended_seconds
    return before.suspended_seconds + max(0, int((now - since).total_seconds()))
