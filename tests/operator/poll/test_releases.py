from dreambooth_operator.objects.observed import Key
from dreambooth_operator.poll.releases import Releases


def keys(namespace: str, count: int) -> list[Key]:
    return [Key(namespace, str(number)) for number in range(count)]


def waiting(rate: float, *those: Key) -> Releases:
    releases = Releases(rate)
    for key in those:
        releases.wait(key)
    return releases


def test_no_more_come_than_the_rate_allows() -> None:
    releases = waiting(10, *keys("space", 100))
    assert [len(releases.due(0.1)) for _ in range(5)] == [2, 1, 1, 1, 1]
    assert len(releases.due(3600)) == 10, "a silence is made up for by one second's at most"


def test_a_slow_rate_is_kept_too() -> None:
    releases = waiting(0.5, *keys("space", 9))
    assert [len(releases.due(1)) for _ in range(5)] == [1, 0, 1, 0, 1]


def test_a_thousand_jobs_of_one_tenant_delay_another_by_a_turn() -> None:
    quiet = Key("quiet", "dog")
    releases = waiting(10, *keys("loud", 1000), quiet)
    assert quiet in releases.due(0.1)


def test_what_does_not_wait_its_own_namespace_pays_for() -> None:
    releases = Releases(10)
    for key in keys("loud", 100):
        releases.at_once(key)
    loud, quiet = Key("loud", "late"), keys("quiet", 5)
    for key in (loud, *quiet):
        releases.wait(key)
    assert releases.due(1) == quiet
    later = [key for _ in range(9) for key in releases.due(1)]
    assert later == []
    assert releases.due(1) == [loud]


def test_who_was_shown_or_is_gone_waits_no_longer() -> None:
    one, other, third = keys("space", 3)
    releases = waiting(10, one, other, third)
    releases.at_once(one)
    releases.forget(other)
    assert releases.due(1) == [third]
