"""`ttlSecondsAfterFinished`: when a finished DreamBoothJob is deleted."""

from datetime import datetime, timedelta

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.objects.observed import Object


def expiry_of(dreamboothjob: Object, status: DreamBoothJobStatus) -> datetime | None:
    """When to delete a finished DreamBoothJob; None: never. Reads the raw spec, as it may be invalid."""
    spec = dreamboothjob.get("spec")
    seconds = spec.get("ttlSecondsAfterFinished") if isinstance(spec, dict) else None
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0 or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=min(seconds, 10**9))
