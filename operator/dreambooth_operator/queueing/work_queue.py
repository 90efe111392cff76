"""The queue between what happens (`kube/watches.py`, `kube/relist.py`, `poll/poller.py`) and the workers of
`control/controller.py`.

A key is in the queue at most once and with one worker at a time. One that is added while a worker has it is queued again as
soon as the worker is done, so that nothing that happened meanwhile is missed. The namespaces have their turns, and none gets all
workers: however many and however slow a tenant's jobs are, those of another are looked at. One event loop uses it; nothing is
locked.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable

from dreambooth_operator.objects.observed import Key
from dreambooth_operator.queueing.fair_turns import Turns

FIRST_DELAY = 0.2
"""Seconds until the first repetition after an error; each further one doubles it."""
LONGEST_DELAY = 300.0
"""Upper bound of the seconds between two repetitions."""


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (1: the first).

    Args:
        failures: Failures in a row.
        chance: Uniform in [0, 1): spreads what failed together over the second half of the delay.
    """
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 30))
    return delay * (0.5 + chance / 2)


class QueueClosed(Exception):
    """No key is given any more."""


def share_of(workers: int) -> int:
    """Workers that one namespace may have at the same time: half of them, at least one."""
    return max(1, workers // 2)


class WorkQueue:
    """Keys that wait for a worker, each once.

    Args:
        share: Workers that one namespace may have at the same time.
    """

    def __init__(self, share: int = sys.maxsize) -> None:
        self._share = share
        self._waiting: Turns[Key] = Turns()
        self._queued: dict[Key, float] = {}
        self._held: Counter[str] = Counter()
        self._started: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Lets a worker look at a key soon."""
        if key in self._started:
            self._again.add(key)
        else:
            self._queued.setdefault(key, time.monotonic())
            self._waiting.add(key.namespace, key)
            self._filled.set()

    def add_all(self, keys: Iterable[Key]) -> None:
        """Adds each of the keys."""
        for key in keys:
            self.add(key)

    async def get(self) -> Key:
        """Waits for a key; the caller must end with `done` or `failed`.

        Raises:
            QueueClosed: The queue is closed.
        """
        while not self._closed:
            key = self._waiting.next(lambda namespace: self._held[namespace] < self._share)
            if key is not None:
                del self._queued[key]
                self._cancel_timer(key)
                self._started[key] = time.monotonic()
                self._held[key.namespace] += 1
                return key
            self._filled.clear()
            await self._filled.wait()
        raise QueueClosed

    def done(self, key: Key, requeue_after: float | None) -> None:
        """Ends the work on a key.

        Args:
            key: What `get` gave.
            requeue_after: Seconds until it is due even if nothing happens; None: never.
        """
        self._failures.pop(key, None)
        self._end(key, requeue_after)

    def failed(self, key: Key, requeue_after: float | None = None) -> float:
        """Ends the work on a key that must be repeated.

        Args:
            key: What `get` gave.
            requeue_after: Seconds after which it is due at the latest.

        Returns:
            Seconds until it is repeated: they grow from failure to failure.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff(self._failures[key], random.random())
        if requeue_after is not None:
            delay = min(delay, requeue_after)
        self._end(key, delay)
        return delay

    def longest_wait(self) -> float:
        """Seconds that the key which waits longest has waited for a worker."""
        return time.monotonic() - min(self._queued.values()) if self._queued else 0.0

    def longest(self) -> float:
        """Seconds that the worker which is busiest with one key has had it."""
        return time.monotonic() - min(self._started.values()) if self._started else 0.0

    def busy(self) -> int:
        """Number of keys that workers have."""
        return len(self._started)

    def close(self) -> None:
        """Gives out no key any more; what workers have they still end."""
        self._closed = True
        self._filled.set()
        for key in list(self._timers):
            self._cancel_timer(key)

    def _end(self, key: Key, requeue_after: float | None) -> None:
        del self._started[key]
        self._held[key.namespace] -= 1
        if not self._held[key.namespace]:
            del self._held[key.namespace]
        # A key of the same namespace may have waited for this alone.
        self._filled.set()
        if requeue_after is not None and not self._closed:
            self._timers[key] = asyncio.get_running_loop().call_later(max(0.0, requeue_after), self._due, key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
