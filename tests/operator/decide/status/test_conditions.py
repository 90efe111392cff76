from collections.abc import Sequence

import pytest

from dreambooth_api.status import Condition
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.conditions import conditions_of, find, holds
from dreambooth_operator.decide.status.reasons import Finding
from tests.operator.pieces import at

TRAINING = reasons.TRAINING(number=0, pods="1 pod")
REFUSED = reasons.PROGRESS_REFUSED(number=0, pods="1 pod", detail="it is not JSON.")
STARTING = reasons.STARTING(job="dog-0", number=0)
COMPLETE = reasons.COMPLETE(path="dog", claim="dog")
UNSOUND = reasons.INVALID_CONFIG(problems="x")


def after(*findings: Finding, accepted: bool = True) -> list[Condition]:
    """The conditions after several findings, one per minute."""
    conditions: Sequence[Condition] = ()
    for minute, finding in enumerate(findings):
        now = at(60 * minute)
        conditions = conditions_of(conditions, finding, accepted=accepted, generation=minute + 1, now=now)
    return list(conditions)


def summary(conditions: list[Condition]) -> list[tuple[str, str, str]]:
    return [(one.type, one.status, one.reason) for one in conditions]


OWN = "Accepted", "Running", "Suspended", "Complete", "Failed"
"""Types of conditions that only a DreamBoothJob has."""


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([STARTING], [("Running", "False", "Starting")]),
        ([TRAINING], [("Running", "True", "Training")]),
        ([REFUSED], [("Running", "True", "ProgressRefused")]),
        ([COMPLETE], [("Running", "False", "Complete"), ("Complete", "True", "Complete")]),
        ([reasons.failed("Killed", "x")], [("Running", "False", "Killed"), ("Failed", "True", "Killed")]),
        ([reasons.SUSPENDED()], [("Running", "False", "Suspended"), ("Suspended", "True", "Suspended")]),
        ([reasons.SUSPENDED(), STARTING], [("Running", "False", "Starting"), ("Suspended", "False", "Resumed")]),
        (
            [reasons.SUSPENDED(), COMPLETE],
            [("Running", "False", "Complete"), ("Suspended", "False", "Complete"), ("Complete", "True", "Complete")],
        ),
    ],
)
def test_conditions_of_a_valid_dreamboothjob(findings: list[Finding], expected: list[tuple[str, str, str]]) -> None:
    own = [one for one in summary(after(*findings)) if one[0] in OWN]
    assert own == [("Accepted", "True", "Sound"), *expected]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([STARTING], [("Ready", "False", "Starting"), ("Reconciling", "True", "Starting")]),
        ([STARTING, TRAINING], [("Ready", "True", "Training")]),
        ([TRAINING, STARTING], [("Ready", "False", "Starting"), ("Reconciling", "True", "Starting")]),
        ([STARTING, COMPLETE], [("Ready", "True", "Complete")]),
        ([STARTING, reasons.SUSPENDED()], [("Ready", "True", "Suspended")]),
        ([STARTING, UNSOUND], [("Ready", "False", "InvalidConfig"), ("Stalled", "True", "InvalidConfig")]),
    ],
)
def test_conditions_that_tools_know(findings: list[Finding], expected: list[tuple[str, str, str]]) -> None:
    assert [one for one in summary(after(*findings)) if one[0] not in OWN] == expected


def test_conditions_of_an_invalid_dreamboothjob() -> None:
    expected = [
        ("Accepted", "False"),
        ("Running", "False"),
        ("Failed", "True"),
        ("Ready", "False"),
        ("Stalled", "True"),
    ]
    assert summary(after(UNSOUND, accepted=False)) == [(*one, "InvalidConfig") for one in expected]


def test_the_transition_time_changes_with_the_status_and_not_with_the_reason() -> None:
    conditions = after(STARTING, reasons.SUSPENDED(), TRAINING, TRAINING)
    times = {one.type: one.last_transition_time for one in conditions}
    assert times == {"Accepted": at(0), "Running": at(120), "Suspended": at(120), "Ready": at(60)}
    assert {one.observed_generation for one in conditions} == {4}


def test_a_condition_is_found_also_if_it_is_false() -> None:
    conditions = after(STARTING)
    assert find(conditions, "Running") is not None and not holds(conditions, "Running")
    assert holds(conditions, "Accepted")
    assert find(conditions, "Failed") is None and not holds(conditions, "Failed")


def test_conditions_of_other_types_are_kept() -> None:
    """A newer operator or another controller has written them."""
    own = after(STARTING)
    other = own[0].model_copy(update={"type": "example.com/Checked"})
    again = conditions_of([other, *own], TRAINING, accepted=True, generation=1, now=at(60))
    assert again[-1] == other
    assert summary(again[:-1]) == summary(after(STARTING, TRAINING))
