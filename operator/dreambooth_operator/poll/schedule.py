"""Decides which trainers to poll and when, for `poller.py`. It reads no clock.

Trainers are ordered by the time of their next poll, so nothing is computed for those that are not due. The number of polls at
the same time and their total rate are limited. Namespaces are served in round-robin order, and none may use all slots, so slow
trainers of one tenant don't delay the polls of another.
"""

import heapq
from collections import Counter

from dreambooth_operator.queueing.fair_queue import FairQueue
from dreambooth_operator.settings import Settings

POLLS_PER_SECOND = 100.0
"""Largest rate of polls, which bounds the processor time that they take."""
SHARE = 3 / 4
"""Share of the slots that one namespace may use."""


class Schedule:
    """The schedule of polls, by the UIDs of pods."""

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.poll_seconds
        self._slots = settings.polls_at_once
        self._slots_of_one = max(1, int(self._slots * SHARE))
        self._tokens = 1.0
        self._before: float | None = None
        self._namespaces: dict[str, str] = {}
        self._later: list[tuple[float, str]] = []
        self._due: FairQueue[str] = FairQueue()
        self._in_flight: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._namespaces)

    def add(self, namespace: str, uid: str, now: float) -> None:
        """Adds a trainer, which is due at once."""
        if uid not in self._namespaces:
            self._namespaces[uid] = namespace
            heapq.heappush(self._later, (now, uid))

    def remove(self, uid: str) -> None:
        """Removes a trainer. A running poll of it still needs `done`."""
        namespace = self._namespaces.pop(uid, None)
        if namespace is not None:
            self._due.discard(namespace, uid)
            # Entries of the heap can't be found quickly; `due` drops those of removed trainers.

    def due(self, now: float) -> list[str]:
        """The trainers to poll now; call `done` after each poll.

        Args:
            now: The time in seconds, on a monotonic clock.
        """
        passed = 0.0 if self._before is None else now - self._before
        self._tokens, self._before = min(POLLS_PER_SECOND, self._tokens + POLLS_PER_SECOND * passed), now
        while self._later and self._later[0][0] <= now:
            _, uid = heapq.heappop(self._later)
            if uid in self._namespaces:
                self._due.add(self._namespaces[uid], uid)
        chosen: list[str] = []
        while self._tokens >= 1 and self._in_flight.total() < self._slots:
            uid_due = self._due.pop(lambda namespace: self._in_flight[namespace] < self._slots_of_one)
            if uid_due is None:
                break
            self._tokens -= 1
            self._in_flight[self._namespaces[uid_due]] += 1
            heapq.heappush(self._later, (now + self._interval, uid_due))
            chosen.append(uid_due)
        return chosen

    def done(self, namespace: str) -> None:
        """Frees the slot of a poll in a namespace."""
        self._in_flight[namespace] -= 1
        if not self._in_flight[namespace]:
            del self._in_flight[namespace]
