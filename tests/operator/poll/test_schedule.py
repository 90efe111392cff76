from collections import Counter
from itertools import pairwise

from dreambooth_operator.poll.schedule import Schedule
from dreambooth_operator.settings import Settings

SETTINGS = Settings(trainer_image="trainer", poll_seconds=5, polls_at_once=20, poll_timeout_seconds=2)
"""At most ten questions a second."""


def asked(trainers: dict[str, int], seconds: int, free: int = 20) -> list[tuple[float, str]]:
    """The polls in ticks of 0.1 seconds, for a number of trainers in each namespace."""
    schedule = Schedule(SETTINGS)
    present = [(namespace, f"{namespace}-{number}") for namespace, count in trainers.items() for number in range(count)]
    ticks = [tick / 10 for tick in range(seconds * 10)]
    return [(now, uid) for now in ticks for uid in schedule.due(present, now, free)]


def test_few_trainers_are_polled_at_the_configured_interval() -> None:
    times = [now for now, uid in asked({"space": 3}, 21) if uid == "space-0"]
    assert times == [0, 5, 10, 15, 20]


def test_many_trainers_are_polled_at_a_limited_rate_and_in_turn() -> None:
    found = asked({"space": 1000}, 300)
    assert 2990 <= len(found) <= 3010
    counts = Counter(uid for _, uid in found)
    assert len(counts) == 1000 and max(counts.values()) - min(counts.values()) <= 1


def test_a_thousand_trainers_of_one_tenant_do_not_delay_those_of_another() -> None:
    found = asked({"loud": 1000, "quiet": 5}, 300)
    for number in range(5):
        times = [now for now, uid in found if uid == f"quiet-{number}"]
        assert max(later - earlier for earlier, later in pairwise(times)) < 6
        assert len(times) >= 55
    assert len(found) >= 2990, "what the quiet tenant leaves is the loud one's"


def test_two_tenants_with_many_trainers_share_evenly() -> None:
    counts = Counter(uid.partition("-")[0] for _, uid in asked({"one": 1000, "other": 200}, 60))
    assert abs(counts["one"] - counts["other"]) <= 1


def test_no_more_polls_than_free_slots() -> None:
    schedule = Schedule(SETTINGS)
    present = [("space", str(number)) for number in range(30)]
    assert [len(schedule.due(present, now, free)) for now, free in ((0, 3), (1, 0), (2, 8))] == [3, 0, 8]


def test_a_removed_trainer_is_not_polled_and_uses_no_slot() -> None:
    schedule = Schedule(SETTINGS)
    schedule.due([("space", str(number)) for number in range(30)], 0, 1)
    assert schedule.due([("space", "29")], 1, 5) == ["29"]
