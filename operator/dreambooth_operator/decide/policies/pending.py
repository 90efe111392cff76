"""`pendingDeadlineSeconds`: a workload of which no pod has started on a node for so long fails.

Neither suspensions nor waits in the queue of Kueue count: the time begins again after them.
"""

from datetime import datetime, timedelta

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.decide.status.conditions import find
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import latest, time_of


def pending_since(owner: Object, status: WorkloadStatus, job: Object | None, now: datetime) -> datetime | None:
    """Since when a workload that has never started waits for its start; None if that is not known.

    Args:
        owner: the workload as an object of the API server.
        status: its previous status.
        job: the Job of its attempt, if there is one.
        now: the time, which is the end of a wait whose end is not recorded yet.
    """
    suspended = find(status.conditions, "Suspended")
    conditions = [
        one for one in (job or {}).get("status", {}).get("conditions") or () if one.get("type") == "Suspended"
    ]
    if (suspended and suspended.status == "True") or any(one.get("status") == "True" for one in conditions):
        return now
    admitted = [time_of(one.get("lastTransitionTime")) for one in conditions]
    created = time_of(owner["metadata"].get("creationTimestamp"))
    return latest([created, suspended.last_transition_time if suspended else None, *admitted])


def pending_deadline(since: datetime | None, seconds: int | None) -> datetime | None:
    """When a workload that has never started fails; None: never."""
    return since + timedelta(seconds=seconds) if since and seconds is not None else None
