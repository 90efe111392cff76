from dreambooth_operator.objects.observed import Key
from dreambooth_operator.poll.update_limiter import UpdateLimiter


def keys(namespace: str, count: int) -> list[Key]:
    return [Key(namespace, str(number)) for number in range(count)]


def waiting(rate: float, *those: Key) -> UpdateLimiter:
    limiter = UpdateLimiter(rate)
    for key in those:
        limiter.add(key)
    return limiter


def test_the_rate_is_limited() -> None:
    limiter = waiting(10, *keys("space", 100))
    assert [len(limiter.due(0.1)) for _ in range(5)] == [2, 1, 1, 1, 1]
    assert len(limiter.due(3600)) == 10, "unused updates are kept for one second at most"


def test_a_rate_below_one_per_second() -> None:
    limiter = waiting(0.5, *keys("space", 9))
    assert [len(limiter.due(1)) for _ in range(5)] == [1, 0, 1, 0, 1]


def test_many_dreamboothjobs_of_one_tenant_delay_another_by_one_update() -> None:
    quiet = Key("quiet", "dog")
    limiter = waiting(10, *keys("loud", 1000), quiet)
    assert quiet in limiter.due(0.1)


def test_immediate_updates_delay_only_their_own_namespace() -> None:
    limiter = UpdateLimiter(10)
    for key in keys("loud", 100):
        limiter.add_immediate(key)
    loud, quiet = Key("loud", "late"), keys("quiet", 5)
    for key in (loud, *quiet):
        limiter.add(key)
    assert limiter.due(1) == quiet
    later = [key for _ in range(9) for key in limiter.due(1)]
    assert later == []
    assert limiter.due(1) == [loud]


def test_published_and_discarded_keys_leave_the_queue() -> None:
    one, other, third = keys("space", 3)
    limiter = waiting(10, one, other, third)
    limiter.add_immediate(one)
    limiter.discard(other)
    assert limiter.due(1) == [third]
