"""Limits the rate at which progress is written to the status, for `poller.py`. It reads no clock.

A token bucket limits all updates together to `status_writes_per_second`. Namespaces are served in round-robin order. Urgent
updates are made at once; later updates of the same namespace, and of no other, wait longer for them.
"""

from dreambooth_operator.objects.observed import Key
from dreambooth_operator.queueing.fair_queue import FairQueue


class UpdateLimiter:
    """A queue of workloads with progress to publish."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = 1.0
        # A plain object stands for an update that was made at once.
        self._waiting: FairQueue[Key | object] = FairQueue()

    def add(self, key: Key) -> None:
        """Queues a workload; if it is already queued, it keeps its position."""
        self._waiting.add(key.namespace, key)

    def add_immediate(self, key: Key) -> None:
        """Counts an update that was made at once."""
        self.discard(key)
        self._waiting.add(key.namespace, object())

    def discard(self, key: Key) -> None:
        """Removes a workload from the queue."""
        self._waiting.discard(key.namespace, key)

    def due(self, seconds: float) -> list[Key]:
        """The workloads to publish after some more seconds."""
        self._tokens = min(max(1.0, self._rate), self._tokens + seconds * self._rate)
        due = []
        while self._tokens >= 1 and (item := self._waiting.pop()) is not None:
            self._tokens -= 1
            if isinstance(item, Key):
                due.append(item)
        return due
