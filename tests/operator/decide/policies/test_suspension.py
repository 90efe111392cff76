from datetime import datetime
from typing import Literal

import pytest

from dreambooth_api.status import Condition, DreamBoothJobStatus
from dreambooth_operator.decide.policies.suspension import suspended_seconds, suspended_since
from tests.operator.fake_cluster import START
from tests.operator.pieces import at


def status(suspended: Literal["True", "False"] | None, start: datetime | None = START) -> DreamBoothJobStatus:
    """The status with an earlier suspension of 7 seconds and a transition at second 40."""
    condition = suspended and Condition(
        type="Suspended",
        status=suspended,
        reason="Said",
        message="",
        last_transition_time=at(40),
        observed_generation=1,
    )
    return DreamBoothJobStatus(conditions=[condition] if condition else [], start_time=start, suspended_seconds=7)


@pytest.mark.parametrize(("before", "expected"), [("True", at(40)), ("False", None), (None, None)])
def test_start_of_the_suspension(before: Literal["True", "False"] | None, expected: datetime | None) -> None:
    assert suspended_since(status(before)) == expected


@pytest.mark.parametrize(
    ("before", "suspended", "now", "expected"),
    [
        (status("True"), False, 100, 67),
        (status("True"), True, 100, 7),
        (status("False"), False, 100, 7),
        (status(None), True, 100, 7),
        (status("True", start=None), False, 100, 7),
        (status("True"), False, 30, 7),
    ],
    ids=["it ends", "it goes on", "it is over", "it begins", "before the start", "the clock was set back"],
)
def test_a_suspension_is_counted_when_it_ends(
    before: DreamBoothJobStatus, suspended: bool, now: float, expected: int
) -> None:
    assert suspended_seconds(before, suspended, at(now)) == expected
