import asyncio
import time

import pytest

from dreambooth_operator.objects.observed import Key
from dreambooth_operator.queueing.adaptive_limit import AdaptiveLimit
from dreambooth_operator.queueing.work_queue import (
    FIRST_DELAY,
    LONGEST_DELAY,
    QueueClosed,
    WorkQueue,
    backoff,
    limit_per_namespace,
)

A, B, C = (Key("space", name) for name in "abc")


def test_keys_are_unique_and_in_order() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        queue.add_all([A, B, A, C, B])
        assert len(queue) == 3
        assert [await queue.get() for _ in range(3)] == [A, B, C]
        assert (len(queue), queue.busy()) == (0, 3)

    asyncio.run(test())


def test_a_key_that_is_added_while_processed_is_queued_again_but_never_has_two_workers() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        queue.add(A)
        await queue.get()
        queue.add(A)
        queue.add(A)
        assert len(queue) == 0, "another worker could have got it"
        queue.done(A, None)
        assert await queue.get() == A
        queue.done(A, None)
        assert len(queue) == 0

    asyncio.run(test())


def test_the_longest_wait_is_that_of_the_oldest_key() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        assert queue.longest_wait() == 0
        queue.add(A)
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        queue.add(B)
        queue.add(A)
        assert queue.longest_wait() >= 0.05
        await queue.get()
        longest, passed = queue.longest_wait(), time.monotonic() - begun
        assert longest <= passed
        await queue.get()
        assert queue.longest_wait() == 0

    asyncio.run(test())


def test_an_idle_worker_is_woken() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0.01)
        queue.add(B)
        assert await waiting == B

    asyncio.run(test())


def test_a_key_is_requeued_after_the_latest_delay() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        queue.add(A)
        queue.done(await queue.get(), 0.05)
        begun = time.monotonic()
        assert await queue.get() == A
        assert time.monotonic() - begun > 0.04
        queue.done(A, 0.02)
        queue.add(A)
        queue.done(await queue.get(), None)
        await asyncio.sleep(0.05)
        assert len(queue) == 0, "an item that was due earlier is still due"

    asyncio.run(test())


def test_the_delay_grows_with_each_failure_until_a_success() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        delays = []
        for _ in range(6):
            queue.add(A)
            delays.append(queue.failed(await queue.get()))
        assert all(later > earlier for earlier, later in zip(delays, delays[2:], strict=False))
        queue.add(A)
        queue.done(await queue.get(), None)
        queue.add(A)
        assert queue.failed(await queue.get()) <= FIRST_DELAY

    asyncio.run(test())


def test_a_retry_waits_no_longer_than_requeue_after() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        for _ in range(12):
            queue.add(A)
            delay = queue.failed(await queue.get(), requeue_after=0.5)
        assert delay == 0.5

    asyncio.run(test())


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [
        (1, 0.0, FIRST_DELAY / 2),
        (1, 1.0, FIRST_DELAY),
        (4, 1.0, FIRST_DELAY * 8),
        (50, 1.0, LONGEST_DELAY),
        (10**6, 0.0, 150),
    ],
)
def test_backoff(failures: int, jitter: float, seconds: float) -> None:
    assert backoff(failures, jitter) == pytest.approx(seconds)


def test_a_closed_queue_returns_nothing_and_lets_workers_finish() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        queue.add_all([A, B])
        key = await queue.get()
        idle = asyncio.create_task(WorkQueue(AdaptiveLimit(8)).get())
        queue.close()
        with pytest.raises(QueueClosed):
            await queue.get()
        queue.done(key, 0.0)
        await asyncio.sleep(0.01)
        with pytest.raises(QueueClosed):
            await queue.get()
        idle.cancel()

    asyncio.run(test())


def test_closing_wakes_idle_workers() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        workers = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0.01)
        queue.close()
        ends = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(end, QueueClosed) for end in ends)

    asyncio.run(test())


def test_longest_run() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        assert queue.longest_run() == 0
        queue.add_all([A, B])
        first = time.monotonic()
        await queue.get()
        await asyncio.sleep(0.05)
        second = time.monotonic()
        await queue.get()
        longest, passed = queue.longest_run(), time.monotonic() - first
        assert 0.04 < longest <= passed
        queue.done(A, None)
        longest, passed = queue.longest_run(), time.monotonic() - second
        assert longest <= passed

    asyncio.run(test())


def test_no_key_is_processed_by_two_workers() -> None:
    async def test() -> None:
        queue, seen, held = WorkQueue(AdaptiveLimit(8)), [], set()

        async def work() -> None:
            while True:
                try:
                    key = await queue.get()
                except QueueClosed:
                    return
                assert key not in held
                held.add(key)
                await asyncio.sleep(0.001)
                held.discard(key)
                seen.append(key)
                queue.done(key, None)

        workers = [asyncio.create_task(work()) for _ in range(8)]
        keys = [Key("space", str(number)) for number in range(100)]
        for _ in range(5):
            queue.add_all(keys)
            await asyncio.sleep(0.005)
        while len(queue) or queue.busy():
            await asyncio.sleep(0.005)
        queue.close()
        await asyncio.gather(*workers)
        assert set(seen) == set(keys)
        assert len(seen) <= 500

    asyncio.run(test())


def test_a_namespace_with_many_keys_delays_one_with_few_by_a_single_key() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(8))
        queue.add_all(Key("loud", str(number)) for number in range(1000))
        queue.add_all([A, B])
        assert [(await queue.get()).namespace for _ in range(6)] == ["loud", "space", "loud", "space", "loud", "loud"]

    asyncio.run(test())


def test_a_namespace_uses_no_more_workers_than_its_limit() -> None:
    async def test() -> None:
        queue = WorkQueue(AdaptiveLimit(4))
        loud = [Key("loud", str(number)) for number in range(10)]
        queue.add_all(loud)
        assert [await queue.get() for _ in range(2)] == loud[:2]
        third = asyncio.create_task(queue.get())
        await asyncio.sleep(0.01)
        assert not third.done(), "a worker that another namespace may need is used"
        queue.add(A)
        assert await third == A
        fourth = asyncio.create_task(queue.get())
        await asyncio.sleep(0.01)
        assert not fourth.done()
        queue.done(loud[0], None)
        assert await fourth == loud[2]

    asyncio.run(test())


def test_the_number_of_keys_in_progress_follows_the_limit() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(2)
        queue = WorkQueue(limit)
        keys = [Key(f"space-{number}", "a") for number in range(10)]
        queue.add_all(keys[:2])
        assert [await queue.get() for _ in range(2)] == keys[:2]
        third = asyncio.create_task(queue.get())
        await asyncio.sleep(0.01)
        assert not limit.reached, "nothing waits"
        queue.add_all(keys[2:])
        await asyncio.sleep(0.01)
        assert limit.reached and not third.done()
        for _ in range(4):
            limit.answered(time.monotonic(), 200)
        assert limit.value == 3
        queue.done(keys[0], None)
        assert [await third, await queue.get()] == keys[2:4]
        assert queue.busy() == 3

    asyncio.run(test())


@pytest.mark.parametrize(("workers", "share"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_limit_per_namespace(workers: int, share: int) -> None:
    assert limit_per_namespace(workers) == share
