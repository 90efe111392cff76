"""`ttlSecondsAfterFinished`: when a finished job is deleted."""

from datetime import datetime, timedelta

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.objects.observed import Object


def expiry_of(job: Object, status: DreamBoothJobStatus) -> datetime | None:
    """When a finished job is to be deleted; None: never. Reads the spec as it stands, since it may be unsound."""
    spec = job.get("spec")
    seconds = spec.get("ttlSecondsAfterFinished") if isinstance(spec, dict) else None
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0 or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=min(seconds, 10**9))
