import pytest

from dreambooth_operator.decide.policies.deadline import deadline_of
from tests.operator.pieces import at


@pytest.mark.parametrize(
    ("seconds", "suspended", "expected"),
    [(100, 0, 100), (100, 40, 140), (100, 10**15, 10**9)],
)
def test_the_deadline_counts_from_the_start_without_suspension(seconds: int, suspended: int, expected: float) -> None:
    assert deadline_of(at(0), seconds, suspended) == at(expected)


def test_there_is_no_deadline_without_a_limit_or_a_start() -> None:
    assert deadline_of(at(0), None, 0) is None
    assert deadline_of(None, 100, 0) is None
