"""How often the operator looks again at something that no watch reports. Used by `decide/reconcile.py`.

The interval grows with the time that has passed, up to five minutes. It needs no memory, so a restart does not shorten it.
"""

from datetime import datetime, timedelta

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.objects.reading import latest

LONGEST = timedelta(minutes=5)
"""Longest interval."""
SHARE = 4
"""The interval is the time that has passed, divided by this number."""


def waiting_since(status: WorkloadStatus, now: datetime) -> datetime:
    """Since when a workload waits, if it does not run: since a transition of its conditions or the end of an attempt."""
    ends = [attempt.completion_time for attempt in status.attempts]
    return latest([*ends, *(one.last_transition_time for one in status.conditions if one.type != "Accepted")]) or now


def next_look(since: datetime, now: datetime, first: timedelta) -> datetime:
    """When to look again.

    Args:
        since: since when the workload waits.
        now: the time.
        first: shortest interval.
    """
    return now + max(first, min(LONGEST, (now - since) / SHARE))
