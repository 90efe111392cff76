"""Events: one for each thing that was not so before, told from the status before and after."""

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.status.conditions import find, holds
from dreambooth_operator.decide.status.reasons import RESUMED, Finding
from dreambooth_operator.decide.status.termination_message import COMPLETED
from dreambooth_operator.objects.observed import Event


def events_of(before: DreamBoothJobStatus, after: DreamBoothJobStatus, finding: Finding) -> list[Event]:
    """What is worth an Event: an attempt that ended, the end of a suspension, another finding.

    Args:
        before: the status so far.
        after: the new status.
        finding: what decided the new phase.
    """
    ended_before = {attempt.number for attempt in before.attempts if attempt.completion_time}
    events = [
        Event("Warning", attempt.reason or "", f"Attempt {attempt.number}: {attempt.message}")
        for attempt in after.attempts
        if attempt.completion_time and attempt.number not in ended_before
        if attempt.reason not in (COMPLETED, finding.word)
    ]
    suspended = find(after.conditions, "Suspended")
    if holds(before.conditions, "Suspended") and suspended and suspended.reason == RESUMED.word:
        events.append(Event("Normal", RESUMED.word, RESUMED.message))
    running = find(before.conditions, "Running")
    if finding.event and (running is None or running.reason != finding.word):
        events.append(Event(finding.event, finding.word, finding.message))
    return events
