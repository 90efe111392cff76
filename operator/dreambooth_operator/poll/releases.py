"""Whose progress is shown, and when: for `poller.py`. No clock: the seconds are told.

Each release makes a write of a status, and all together are bounded by `status_writes_per_second`. The namespaces have their
turns. What can't wait is shown at once, and its namespace, no other, waits longer for it afterwards.
"""

from dreambooth_operator.objects.observed import Key
from dreambooth_operator.queueing.fair_turns import FairQueue


class Releases:
    """Jobs that have something to show."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._credit = 1.0
        # A plain object stands for a release that was not waited for.
        self._waiting: FairQueue[Key | object] = FairQueue()

    def wait(self, key: Key) -> None:
        """Lets a job wait for its turn; one that waits already keeps its place."""
        self._waiting.add(key.namespace, key)

    def at_once(self, key: Key) -> None:
        """Takes note that a job was shown without its turn."""
        self.forget(key)
        self._waiting.add(key.namespace, object())

    def forget(self, key: Key) -> None:
        """Lets a job wait no longer."""
        self._waiting.discard(key.namespace, key)

    def due(self, seconds: float) -> list[Key]:
        """Whose turn it is after so many more seconds."""
        self._credit = min(max(1.0, self._rate), self._credit + seconds * self._rate)
        released = []
        while self._credit >= 1 and (waited := self._waiting.pop()) is not None:
            self._credit -= 1
            if isinstance(waited, Key):
                released.append(waited)
        return released
