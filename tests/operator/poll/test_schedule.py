from collections import Counter
from itertools import pairwise

from dreambooth_operator.poll.schedule import Schedule
from dreambooth_operator.settings import Settings

SETTINGS = Settings(trainer_image="trainer", poll_seconds=5, polls_at_once=20)


def polled(trainers: dict[str, int], seconds: int, hanging: float = 0, slow: str = "") -> list[tuple[float, str]]:
    """The polls in ticks of 0.1 seconds, for a number of trainers in each namespace. Those of one namespace may be slow."""
    schedule = Schedule(SETTINGS)
    for namespace, count in trainers.items():
        for number in range(count):
            schedule.add(namespace, f"{namespace}-{number}", 0)
    found, ends = [], []
    for now in (tick / 10 for tick in range(seconds * 10)):
        for end in [end for end in ends if end[0] <= now]:
            ends.remove(end)
            schedule.done(end[1])
        for uid in schedule.due(now):
            namespace = uid.partition("-")[0]
            found.append((now, uid))
            ends.append((now + (hanging if namespace == slow else 0.01), namespace))
    return found


def longest_gap(found: list[tuple[float, str]], uid: str) -> float:
    times = [now for now, one in found if one == uid]
    return max(later - earlier for earlier, later in pairwise(times))


def test_few_trainers_are_polled_at_the_configured_interval() -> None:
    times = [now for now, uid in polled({"space": 3}, 21) if uid == "space-0"]
    assert times == [0, 5, 10, 15, 20]


def test_a_thousand_trainers_are_polled_at_least_every_fifteen_seconds() -> None:
    found = polled({"space": 1000}, 60)
    assert len({uid for _, uid in found}) == 1000
    assert max(longest_gap(found, f"space-{number}") for number in range(1000)) <= 15


def test_the_rate_is_limited() -> None:
    found = polled({f"space{number}": 200 for number in range(20)}, 60)
    assert 5800 <= len(found) <= 6100
    counts = Counter(uid for _, uid in found)
    assert len(counts) == 4000 and max(counts.values()) - min(counts.values()) <= 1


def test_a_thousand_trainers_of_one_tenant_that_do_not_respond_do_not_delay_those_of_another() -> None:
    found = polled({"loud": 1000, "quiet": 50}, 60, hanging=2, slow="loud")
    assert max(longest_gap(found, f"quiet-{number}") for number in range(50)) < 7
    loud = [uid for _, uid in found if uid.startswith("loud")]
    assert len(set(loud)) >= 400, "fifteen slots of two seconds"


def test_no_more_polls_at_the_same_time_than_slots() -> None:
    schedule = Schedule(SETTINGS)
    for number in range(60):
        schedule.add(f"space{number % 2}", str(number), 0)
    assert schedule.due(0) != []
    assert len(schedule.due(1)) == 19
    assert schedule.due(2) == []
    schedule.done("space0")
    assert len(schedule.due(3)) == 1


def test_one_namespace_does_not_use_all_slots() -> None:
    schedule = Schedule(SETTINGS)
    for number in range(60):
        schedule.add("space", str(number), 0)
    assert len(schedule.due(0)) + len(schedule.due(1)) == 15
    schedule.add("other", "other", 2)
    assert schedule.due(2) == ["other"]


def test_a_removed_trainer_is_not_polled() -> None:
    schedule = Schedule(SETTINGS)
    for number in range(3):
        schedule.add("space", str(number), 0)
    schedule.remove("1")
    schedule.remove("never added")
    assert len(schedule) == 2
    assert schedule.due(0) + schedule.due(1) == ["0", "2"]
    schedule.remove("0")
    assert schedule.due(6) == ["2"]
