"""`ttlSecondsAfterFinished`: when a finished workload is deleted."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import name_of

_FIELD = "ttlSecondsAfterFinished"


def expiry_of(
    owner: Object, status: WorkloadStatus, runtimes: Sequence[Object] = (), default: int | None = None
) -> datetime | None:
    """When to delete a finished workload; None: never. Reads the raw spec, as it may be invalid.

    Args:
        owner: the workload as an object of the API server.
        status: its status.
        runtimes: all DreamBoothRuntimes; the default of the one of its last attempt applies if the spec has no TTL.
        default: the default of the operator.
    """
    used = [item.get("spec") for item in runtimes if name_of(item) == status.runtime]
    defaults = [one.get("defaults") for one in used if isinstance(one, dict)]
    sections = [owner.get("spec"), *defaults, {_FIELD: default}]
    given = (one.get(_FIELD) for one in sections if isinstance(one, dict))
    seconds = next((one for one in given if one is not None), None)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0 or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=min(seconds, 10**9))
