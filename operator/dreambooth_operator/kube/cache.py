"""What the watches told last: the objects that `control/controller.py` and `poll/poller.py` read instead of asking the API
server.

Filled by `watches.py` (events), `relist.py` (lists) and `control/controller.py` (answers to its own writes); whichever is newest
wins, by the resource version. One event loop uses it; nothing is locked. Objects in it are never changed, only replaced.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dreambooth_api.job import KIND
from dreambooth_api.runtime import RUNTIME_KIND
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Key, Object

WATCHED = (KIND, RUNTIME_KIND, "Job", "Pod")
"""Kinds of the objects in the store."""


class _Name(NamedTuple):
    kind: str
    namespace: str
    name: str


def version(item: Object) -> int:
    """The resource version; Kubernetes promises that it grows (since 1.35 officially, in fact always)."""
    return int(item["metadata"].get("resourceVersion", 0))


def key_of(item: Object) -> Key | None:
    """The DreamBoothJob that an object is or belongs to by its label. A runtime belongs to none: jobs that wait for one look
    again by themselves."""
    metadata = item["metadata"]
    if item["kind"] == RUNTIME_KIND:
        return None
    name = metadata["name"] if item["kind"] == KIND else metadata.get("labels", {}).get(LABEL_JOB)
    return Key(metadata["namespace"], name) if name else None


def controller_uid(item: Object) -> str | None:
    """UID of the object's controller."""
    owners = item["metadata"].get("ownerReferences", ())
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


class Store:
    """The newest known state of all watched objects."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[_Name, Object]] = {kind: {} for kind in WATCHED}
        self._children: defaultdict[Key, set[_Name]] = defaultdict(set)
        self._gone: dict[_Name, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def keys(self) -> Iterator[Key]:
        """All DreamBoothJobs."""
        return (Key(name.namespace, name.name) for name in self._objects[KIND])

    def job(self, key: Key) -> Object | None:
        """A DreamBoothJob."""
        return self._objects[KIND].get(_Name(KIND, *key))

    def runtimes(self) -> list[Object]:
        """All DreamBoothRuntimes."""
        return list(self._objects[RUNTIME_KIND].values())

    def jobs(self, key: Key) -> list[Object]:
        """All Jobs with a DreamBoothJob's label, whoever owns them, oldest first."""
        return self._labelled(key, "Job")

    def pods(self, key: Key) -> list[Object]:
        """All pods with a DreamBoothJob's label, whoever owns them, oldest first."""
        return self._labelled(key, "Pod")

    def own_pods(self, key: Key) -> list[Object]:
        """The pods of the Jobs that a DreamBoothJob controls, oldest first: anybody may set our label, but not that."""
        job = self.job(key)
        if job is None:
            return []
        owner = job["metadata"]["uid"]
        uids = {item["metadata"]["uid"] for item in self.jobs(key) if controller_uid(item) == owner}
        return [item for item in self.pods(key) if controller_uid(item) in uids]

    def put(self, item: Object) -> bool:
        """Takes an object that was seen; returns whether it was news."""
        name = _name(item)
        known = self._objects[name.kind].get(name)
        newest = max(version(known) if known else -1, self._gone.get(name, -1))
        if version(item) <= newest:
            return False
        self._set(name, item)
        return True

    def remove(self, item: Object) -> bool:
        """Takes the last state of an object that is gone; returns whether that was news."""
        name = _name(item)
        known = self._objects[name.kind].get(name)
        self._gone[name] = max(version(item), self._gone.get(name, -1))
        if known is None or version(known) > version(item):
            return False
        self._drop(name)
        return True

    def replace(self, kind: str, items: Iterable[Object], listed: int) -> set[Key]:
        """Takes a complete list of a kind.

        Args:
            kind: One of `WATCHED`.
            items: All objects of the kind.
            listed: Resource version of the list; what the store knows that is newer stays.

        Returns:
            Whose objects differ from what was known: nothing that watches may have missed remains unnoticed.
        """
        touched: set[Key | None] = set()
        names = set()
        for item in items:
            names.add(_name(item))
            if self.put(item):
                touched.add(key_of(item))
        for name, known in list(self._objects[kind].items()):
            if name not in names and version(known) <= listed:
                touched.add(key_of(known))
                self._drop(name)
        self._gone = {name: gone for name, gone in self._gone.items() if name.kind != kind or gone > listed}
        return {key for key in touched if key is not None}

    def _labelled(self, key: Key, kind: str) -> list[Object]:
        found = [self._objects[kind][name] for name in self._children.get(key, ()) if name.kind == kind]
        return sorted(found, key=lambda item: (item["metadata"].get("creationTimestamp", ""), item["metadata"]["name"]))

    def _set(self, name: _Name, item: Object) -> None:
        self._drop(name)
        self._objects[name.kind][name] = _trimmed(item)
        key = key_of(item)
        if key is not None and name.kind != KIND:
            self._children[key].add(name)

    def _drop(self, name: _Name) -> None:
        known = self._objects[name.kind].pop(name, None)
        key = key_of(known) if known else None
        if key is not None and key in self._children:
            self._children[key].discard(name)
            if not self._children[key]:
                del self._children[key]


def _name(item: Object) -> _Name:
    return _Name(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])


def _trimmed(item: Object) -> Object:
    """The object without its field managers, which nobody here reads and which are half of it."""
    metadata: dict[str, Any] = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}
