import pytest

from dreambooth_api.status import Attempt, DreamBoothJobStatus
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.conditions import conditions_of
from dreambooth_operator.decide.status.events import events_of
from dreambooth_operator.decide.status.reasons import Finding
from tests.operator.pieces import at

TRAINING = reasons.TRAINING(number=0, pods="1 pod")
STARTING = reasons.STARTING(job="dog-0", number=0)
ENDING = reasons.ENDING(number=0, job="dog-0")
COMPLETE = reasons.COMPLETE(path="dog", claim="dog")
KILLED = reasons.failed("Killed", "killed")
BACK_OFF = reasons.BACK_OFF(number=0, reason="Killed", detail="killed", next=1, time="soon")

OPEN = Attempt(number=0, job_name="dog-0")
DEAD = OPEN.model_copy(update={"completion_time": at(9), "reason": "Killed", "message": "killed"})
DONE = OPEN.model_copy(update={"completion_time": at(9), "reason": "Completed"})


def status(before: DreamBoothJobStatus, finding: Finding, *attempts: Attempt) -> DreamBoothJobStatus:
    conditions = conditions_of(before.conditions, finding, accepted=True, generation=1, now=at(0))
    return DreamBoothJobStatus(conditions=conditions, attempts=list(attempts))


def words(first: tuple[Finding, Attempt], then: tuple[Finding, Attempt]) -> list[tuple[str, str]]:
    """Events of the second of two reconciliations, each with a finding and an attempt."""
    before = status(DreamBoothJobStatus(), *first)
    return [(event.type, event.reason) for event in events_of(before, status(before, *then), then[0])]


def test_the_first_finding_has_an_event() -> None:
    (event,) = events_of(DreamBoothJobStatus(), status(DreamBoothJobStatus(), STARTING), STARTING)
    assert (event.type, event.reason, event.message) == ("Normal", "Starting", STARTING.message)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ((STARTING, OPEN), (TRAINING, OPEN), [("Normal", "Training")]),
        ((TRAINING, OPEN), (TRAINING._replace(message="Another."), OPEN), []),
        ((TRAINING, OPEN), (ENDING, OPEN), []),
        ((TRAINING, OPEN), (COMPLETE, DONE), [("Normal", "Complete")]),
        ((TRAINING, OPEN), (KILLED, DEAD), [("Warning", "Killed")]),
        ((TRAINING, OPEN), (BACK_OFF, DEAD), [("Warning", "Killed"), ("Normal", "BackOff")]),
        ((BACK_OFF, DEAD), (BACK_OFF, DEAD), []),
        ((TRAINING, OPEN), (reasons.SUSPENDED(), OPEN), [("Normal", "Suspended")]),
        ((reasons.SUSPENDED(), OPEN), (STARTING, OPEN), [("Normal", "Resumed"), ("Normal", "Starting")]),
        ((reasons.SUSPENDED(), OPEN), (COMPLETE, DONE), [("Normal", "Complete")]),
    ],
)
def test_a_new_finding_has_one_event(
    first: tuple[Finding, Attempt], then: tuple[Finding, Attempt], expected: list[tuple[str, str]]
) -> None:
    assert words(first, then) == expected


def test_the_event_about_the_end_of_an_attempt_has_its_number_and_message() -> None:
    before = status(DreamBoothJobStatus(), TRAINING, OPEN)
    events = events_of(before, status(before, STARTING, DEAD, OPEN.model_copy(update={"number": 1})), STARTING)
    assert events[0].message == "Attempt 0: killed"
