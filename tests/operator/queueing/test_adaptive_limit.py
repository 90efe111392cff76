import pytest

from dreambooth_operator.queueing import adaptive_limit
from dreambooth_operator.queueing.adaptive_limit import GROWTH, SLOW_SECONDS, AdaptiveLimit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(adaptive_limit, "time", clock)
    return clock


def grown(clock: Clock) -> AdaptiveLimit:
    """A limit after many good answers while work was waiting."""
    limit = AdaptiveLimit(4)
    limit.reached = True
    for _ in range(1000):
        limit.answered(clock.now, 200)
    assert limit.value == 4 * GROWTH
    return limit


def test_it_grows_by_one_with_as_many_good_answers_as_it_allows_requests(clock: Clock) -> None:
    limit = AdaptiveLimit(4)
    limit.reached = True
    values = []
    for _ in range(10):
        limit.answered(clock.now - SLOW_SECONDS / 2, 404)
        values.append(limit.value)
    assert values == [4, 4, 4, 4, 5, 5, 5, 5, 5, 6]


def test_it_does_not_grow_while_no_work_waits(clock: Clock) -> None:
    limit = AdaptiveLimit(4)
    for _ in range(1000):
        limit.answered(clock.now, 200)
    assert limit.value == 4


@pytest.mark.parametrize(
    ("seconds", "status"), [(0.0, 429), (0.0, 503), (0.0, 504), (0.0, 0), (1.5 * SLOW_SECONDS, 200)]
)
def test_it_is_halved_once_for_all_answers_to_requests_of_the_same_time(
    clock: Clock, seconds: float, status: int
) -> None:
    limit = grown(clock)
    begun = clock.now
    clock.now += seconds
    for _ in range(10):
        limit.answered(begun, status)
    assert limit.value == 2 * GROWTH
    begun = clock.now = clock.now + 0.01
    clock.now += seconds
    limit.answered(begun, status)
    assert limit.value == GROWTH


def test_it_is_never_less_than_its_least_value(clock: Clock) -> None:
    limit = grown(clock)
    for _ in range(20):
        clock.now += 1
        limit.answered(clock.now - 0.5, 429)
    assert limit.value == 4
