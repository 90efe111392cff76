"""Derives Events from the difference between the previous and the new status."""

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.decide.status.conditions import find, holds
from dreambooth_operator.decide.status.reasons import RESUMED, Finding
from dreambooth_operator.decide.status.termination_message import COMPLETED
from dreambooth_operator.objects.observed import Event


def events_of(before: WorkloadStatus, after: WorkloadStatus, finding: Finding) -> list[Event]:
    """Events about an attempt that ended, the end of a suspension, and a new finding.

    Args:
        before: the previous status.
        after: the new status.
        finding: the finding from which the new status was composed.
    """
    ended_before = {attempt.number for attempt in before.attempts if attempt.completion_time}
    events = [
        Event("Warning", attempt.reason or "", f"Attempt {attempt.number}: {attempt.message}")
        for attempt in after.attempts
        if attempt.completion_time and attempt.number not in ended_before
        if attempt.reason not in (COMPLETED, finding.reason)
    ]
    suspended = find(after.conditions, "Suspended")
    if holds(before.conditions, "Suspended") and suspended and suspended.reason == RESUMED.reason:
        events.append(Event("Normal", RESUMED.reason, RESUMED.message))
    running = find(before.conditions, "Running")
    if finding.event_type and (running is None or running.reason != finding.reason):
        events.append(Event(finding.event_type, finding.reason, finding.message))
    return events
