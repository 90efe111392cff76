"""A queue that is fair among namespaces: of those in which something waits, each has its turn. Used wherever jobs of many tenants
wait for the same thing: by `work_queue.py`, `poll/schedule.py` and `poll/releases.py`."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Turns(Generic[Item]):
    """Items of namespaces: each once, first in first out within a namespace, the namespaces in turn."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, namespace: str, item: Item) -> None:
        """Lets an item wait; one that waits already keeps its place."""
        line = self._lines.setdefault(namespace, OrderedDict())
        if item not in line:
            line[item] = None
            self._length += 1

    def discard(self, namespace: str, item: Item) -> None:
        """Lets an item wait no longer, if it did."""
        line = self._lines.get(namespace)
        if line is None or item not in line:
            return
        del line[item]
        self._length -= 1
        if not line:
            del self._lines[namespace]

    def next(self, may: Callable[[str], bool] = lambda _: True) -> Item | None:
        """Takes what comes next; None if nothing waits that may come.

        Args:
            may: Whether anything of a namespace may come now; it keeps its place in the round where not.
        """
        namespace = next((one for one in self._lines if may(one)), None)
        if namespace is None:
            return None
        line = self._lines[namespace]
        item, _ = line.popitem(last=False)
        self._length -= 1
        self._lines.move_to_end(namespace)
        if not line:
            del self._lines[namespace]
        return item
