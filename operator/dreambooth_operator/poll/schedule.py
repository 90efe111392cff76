"""Decides which trainers to poll, for `poller.py`. It reads no clock.

A token bucket limits the rate of polls so that a slot is free even if each poll runs into its timeout. Namespaces are served in
round-robin order. Slow trainers of one tenant therefore don't delay the polls of another.
"""

from collections.abc import Iterable

from dreambooth_operator.queueing.fair_queue import FairQueue
from dreambooth_operator.settings import Settings


class Schedule:
    """The schedule of polls, by the UIDs of pods."""

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.poll_seconds
        self._rate = settings.polls_at_once / settings.poll_timeout_seconds
        self._tokens = self._capacity
        self._before: float | None = None
        self._polled: dict[str, float] = {}
        self._due: FairQueue[str] = FairQueue()

    def due(self, trainers: Iterable[tuple[str, str]], now: float, free: int) -> list[str]:
        """The trainers to poll now.

        Args:
            trainers: Namespace and UID of all trainers that can be polled.
            now: The time in seconds, on a monotonic clock.
            free: Number of free slots.
        """
        passed = 0.0 if self._before is None else now - self._before
        self._tokens, self._before = min(self._capacity, self._tokens + self._rate * passed), now
        present = {uid: namespace for namespace, uid in trainers}
        self._polled = {uid: polled for uid, polled in self._polled.items() if uid in present}
        for uid in sorted(present, key=self._last_poll):
            if now - self._last_poll(uid) >= self._interval:
                self._due.add(present[uid], uid)
        chosen: list[str] = []
        while self._tokens >= 1 and len(chosen) < free and (due := self._due.pop()) is not None:
            if due in present:
                self._polled[due] = now
                self._tokens -= 1
                chosen.append(due)
        return chosen

    @property
    def _capacity(self) -> float:
        """Size of the token bucket: the polls of one second."""
        return max(1.0, self._rate)

    def _last_poll(self, uid: str) -> float:
        return self._polled.get(uid, float("-inf"))
