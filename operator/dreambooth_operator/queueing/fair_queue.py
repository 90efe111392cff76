"""A queue that serves namespaces in round-robin order, so that no tenant can starve another. Used by `work_queue.py`,
`poll/schedule.py` and `poll/update_limiter.py`."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class FairQueue(Generic[Item]):
    """A set of queued items: first in, first out within a namespace, and round-robin among namespaces."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, namespace: str, item: Item) -> None:
        """Adds an item; an item that is already queued keeps its position."""
        queue = self._queues.setdefault(namespace, OrderedDict())
        if item not in queue:
            queue[item] = None
            self._length += 1

    def discard(self, namespace: str, item: Item) -> None:
        """Removes an item if it is queued."""
        queue = self._queues.get(namespace)
        if queue is None or item not in queue:
            return
        del queue[item]
        self._length -= 1
        if not queue:
            del self._queues[namespace]

    def pop(self, eligible: Callable[[str], bool] = lambda _: True) -> Item | None:
        """Removes and returns the next item; None if there is no eligible one.

        Args:
            eligible: Whether items of a namespace may be returned now. A namespace that is skipped keeps its position.
        """
        namespace = next((one for one in self._queues if eligible(one)), None)
        if namespace is None:
            return None
        queue = self._queues[namespace]
        item, _ = queue.popitem(last=False)
        self._length -= 1
        self._queues.move_to_end(namespace)
        if not queue:
            del self._queues[namespace]
        return item
