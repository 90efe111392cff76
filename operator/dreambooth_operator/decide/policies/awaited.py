"""Objects that don't exist yet: a manifest, a chart or a GitOps tool may create them some seconds after the workload."""

from datetime import datetime, timedelta

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import time_of

AWAITED = timedelta(seconds=15)
"""Time after the creation of a workload in which a missing object is no reason for a warning."""
LOOK = timedelta(seconds=2)
"""Interval between two looks in this time."""


def is_awaited(finding: Finding, owner: Object, now: datetime) -> bool:
    """Whether a finding is that an object is missing, shortly after the creation of a workload."""
    created = time_of(owner["metadata"].get("creationTimestamp"))
    return finding.reason in reasons.MISSING and created is not None and now - created < AWAITED


def awaited(finding: Finding) -> Finding:
    """The same without a warning."""
    return reasons.AWAITED(detail=finding.message)
