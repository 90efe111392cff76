"""The work queue between the sources of events (`kube/watches.py`, `kube/relist.py`, `poll/poller.py`) and the workers of
`control/controller.py`.

A key is queued at most once and processed by one worker at a time. A key that is added while a worker processes it is queued
again when the worker is done, so no change is missed. Namespaces are served in round-robin order, and no namespace gets all
workers, so slow workloads of one tenant can't delay those of another. The queue is used by one event loop, without locks.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable

from dreambooth_operator.objects.observed import Key
from dreambooth_operator.queueing.adaptive_limit import AdaptiveLimit
from dreambooth_operator.queueing.fair_queue import FairQueue

FIRST_DELAY = 0.2
"""Seconds before the first retry after an error; each further error doubles the delay."""
LONGEST_DELAY = 300.0
"""Longest delay between two retries, in seconds."""


def backoff(failures: int, jitter: float) -> float:
    """Exponential back-off delay in seconds.

    Args:
        failures: Number of failures in a row, at least 1.
        jitter: Random number in [0, 1): spreads retries over the second half of the delay.
    """
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 30))
    return delay * (0.5 + jitter / 2)


class QueueClosed(Exception):
    """The queue has been closed."""


def limit_per_namespace(workers: int) -> int:
    """Number of workers that one namespace may use at the same time: half of them, at least one."""
    return max(1, workers // 2)


class WorkQueue:
    """A work queue of unique keys.

    Args:
        limit: Number of keys that are processed at the same time.
    """

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._waiting: FairQueue[Key] = FairQueue()
        self._queued: dict[Key, float] = {}
        self._in_progress: Counter[str] = Counter()
        self._started: dict[Key, float] = {}
        self._readd: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Queues a key."""
        if key in self._started:
            self._readd.add(key)
        else:
            self._queued.setdefault(key, time.monotonic())
            self._waiting.add(key.namespace, key)
            self._wake.set()

    def add_all(self, keys: Iterable[Key]) -> None:
        """Queues several keys."""
        for key in keys:
            self.add(key)

    async def get(self) -> Key:
        """Waits for a key and returns it; the caller must call `done` or `failed` afterwards.

        Raises:
            QueueClosed: The queue has been closed.
        """
        while not self._closed:
            key = self._next()
            self._limit.reached = key is None and len(self._waiting) > 0
            if key is not None:
                del self._queued[key]
                self._cancel_timer(key)
                self._started[key] = time.monotonic()
                self._in_progress[key.namespace] += 1
                return key
            self._wake.clear()
            await self._wake.wait()
        raise QueueClosed

    def done(self, key: Key, requeue_after: float | None) -> None:
        """Marks a key as processed.

        Args:
            key: The key from `get`.
            requeue_after: Seconds until the key is queued again without an event; None: never.
        """
        self._failures.pop(key, None)
        self._end(key, requeue_after)

    def failed(self, key: Key, requeue_after: float | None = None, least: float = 0.0) -> float:
        """Marks a key as failed; it is retried after an exponential back-off delay.

        Args:
            key: The key from `get`.
            requeue_after: Upper bound of the delay, in seconds.
            least: Lower bound of the delay, in seconds: the API server asked for it.

        Returns:
            The delay in seconds.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff(self._failures[key], random.random())
        if requeue_after is not None:
            delay = min(delay, requeue_after)
        delay = max(delay, least)
        self._end(key, delay)
        return delay

    def longest_wait(self) -> float:
        """Seconds that the oldest key has been queued."""
        return time.monotonic() - min(self._queued.values()) if self._queued else 0.0

    def longest_run(self) -> float:
        """Seconds that the longest running worker has spent on its current key."""
        return time.monotonic() - min(self._started.values()) if self._started else 0.0

    def busy(self) -> int:
        """Number of keys that workers are processing."""
        return len(self._started)

    async def idle(self) -> None:
        """Waits until no worker processes a key."""
        while self._started:
            self._ended.clear()
            await self._ended.wait()

    def close(self) -> None:
        """Stops `get` from returning keys; workers may finish their current keys."""
        self._closed = True
        self._wake.set()
        for key in list(self._timers):
            self._cancel_timer(key)

    def _next(self) -> Key | None:
        if len(self._started) >= self._limit.value:
            return None
        share = limit_per_namespace(self._limit.value)
        return self._waiting.pop(lambda namespace: self._in_progress[namespace] < share)

    def _end(self, key: Key, requeue_after: float | None) -> None:
        del self._started[key]
        self._in_progress[key.namespace] -= 1
        if not self._in_progress[key.namespace]:
            del self._in_progress[key.namespace]
        # A queued key of the same namespace may now be eligible.
        self._wake.set()
        self._ended.set()
        if requeue_after is not None and not self._closed:
            self._timers[key] = asyncio.get_running_loop().call_later(max(0.0, requeue_after), self._due, key)
        if key in self._readd:
            self._readd.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
