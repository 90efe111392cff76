"""Cache of all watched objects. `control/controller.py` and `poll/poller.py` read it instead of the API server.

`watches.py` (events), `relist.py` (lists) and `control/writer.py` (responses to its own writes) fill it; the highest resource
version wins. It is used by one event loop, without locks. Objects in it are never modified, only replaced.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_api.runtime import RUNTIME_KIND
from dreambooth_operator.kube.trimming import trimmed
from dreambooth_operator.objects.names import LABELS, owner_label
from dreambooth_operator.objects.observed import Key, Object

WATCHED = (KIND, SCENE_KIND, RUNTIME_KIND, "Job", "Pod")
"""Kinds of the objects in the cache."""


class _Name(NamedTuple):
    kind: str
    namespace: str
    name: str


def resource_version(item: Object) -> int:
    """The resource version of an object. Since Kubernetes 1.35, clients may compare resource versions."""
    return int(item["metadata"].get("resourceVersion", 0))


def key_of(item: Object) -> Key | None:
    """The key of a workload, or of the one that the label of a Job or pod names. A runtime has no key: workloads that wait for a
    runtime are requeued at intervals."""
    metadata, kind = item["metadata"], item["kind"]
    if kind == RUNTIME_KIND:
        return None
    if kind in LABELS:
        return Key(metadata["namespace"], metadata["name"], kind)
    named = ((owner_label(item, one), one) for one in LABELS)
    return next((Key(metadata["namespace"], name, one) for name, one in named if name), None)


def controller_uid(item: Object) -> str | None:
    """UID of the controller of an object."""
    references = item["metadata"].get("ownerReferences", ())
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


class Store:
    """The latest known state of all watched objects."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[_Name, Object]] = {kind: {} for kind in WATCHED}
        self._children: defaultdict[Key, set[_Name]] = defaultdict(set)
        self._scenes: defaultdict[Key, set[str]] = defaultdict(set)
        self._deleted: dict[_Name, int] = {}
        self._listed: dict[tuple[str, str], int] = {}
        self._namespaces: Set[str] | None = None
        self._changes: list[set[Key]] = []

    def subscribe(self) -> set[Key]:
        """A set to which the key is added when an object of a workload changes; its reader empties it."""
        changes: set[Key] = set(self.keys())
        self._changes.append(changes)
        return changes

    def unsubscribe(self, changes: set[Key]) -> None:
        """Adds no more keys to a set of `subscribe`."""
        self._changes = [one for one in self._changes if one is not changes]

    def restrict(self, namespaces: Set[str]) -> None:
        """Stores only objects in these namespaces and cluster-scoped ones from now on, and removes all others."""
        self._namespaces = namespaces
        for objects in self._objects.values():
            for name in [one for one in objects if not self.holds(one.namespace)]:
                self._drop(name)

    def holds(self, namespace: str) -> bool:
        """Whether objects in a namespace are stored; empty: cluster-scoped objects."""
        return not namespace or self._namespaces is None or namespace in self._namespaces

    def __len__(self) -> int:
        return sum(map(len, self._objects.values()))

    def keys(self) -> Iterator[Key]:
        """Keys of all workloads."""
        return (Key(name.namespace, name.name, kind) for kind in LABELS for name in self._objects[kind])

    def owner(self, key: Key) -> Object | None:
        """A workload; None if it is not in the cache."""
        return self._objects[key.kind].get(_Name(key.kind, key.namespace, key.name))

    def trained(self, key: Key) -> Object | None:
        """The DreamBoothJob that a DreamBoothScene names; None if it is not in the cache, or for other workloads."""
        owner = self.owner(key)
        job = _job_of_scene(owner) if owner else None
        return self.owner(job) if job else None

    def scenes_of(self, job: Key) -> set[Key]:
        """The keys of the DreamBoothScenes that name a DreamBoothJob."""
        return {Key(job.namespace, name, SCENE_KIND) for name in self._scenes.get(job, ())}

    def affected(self, item: Object) -> set[Key]:
        """The keys of the workloads whose decisions depend on an object."""
        key = key_of(item)
        return {key, *self.scenes_of(key)} if key else set()

    def runtimes(self) -> list[Object]:
        """All DreamBoothRuntimes."""
        return list(self._objects[RUNTIME_KIND].values())

    def jobs(self, key: Key) -> list[Object]:
        """All Jobs with the label of a workload, oldest first; their controller may be another object."""
        return self._labelled(key, "Job")

    def pods(self, key: Key) -> list[Object]:
        """All pods with the label of a workload, oldest first; their controller may be another object."""
        return self._labelled(key, "Pod")

    def own_pods(self, key: Key) -> list[Object]:
        """The pods of the Jobs that a workload controls, oldest first. Tenants can forge the label, but not this."""
        owner = self.owner(key)
        if owner is None:
            return []
        uid = owner["metadata"]["uid"]
        job_uids = {job["metadata"]["uid"] for job in self.jobs(key) if controller_uid(job) == uid}
        return [pod for pod in self.pods(key) if controller_uid(pod) in job_uids]

    def put(self, item: Object) -> bool:
        """Stores an object from an event or a response; returns whether it is newer than the cached one.

        An object that the last list did not have is only stored if it is newer than that list: the event about an older one is
        late, and the object has been deleted.
        """
        return self._put(item, self._last_list(item["kind"], item["metadata"].get("namespace", "")))

    def _put(self, item: Object, listed: int) -> bool:
        name = _name(item)
        if not self.holds(name.namespace):
            return False
        known = self._objects[name.kind].get(name)
        newest = max(resource_version(known) if known else listed, self._deleted.get(name, -1))
        if resource_version(item) <= newest:
            return False
        self._set(name, item)
        return True

    def remove(self, item: Object) -> bool:
        """Removes a deleted object; returns whether it was in the cache. `item` is its last state."""
        name = _name(item)
        known = self._objects[name.kind].get(name)
        self._deleted[name] = max(resource_version(item), self._deleted.get(name, -1))
        if known is None or resource_version(known) > resource_version(item):
            return False
        self._drop(name)
        return True

    def replace(self, kind: str, items: Iterable[Object], listed: int, namespace: str = "") -> set[Key]:
        """Replaces all objects of a kind with a complete list; a list that is older than the previous one changes nothing.

        Args:
            kind: One of `WATCHED`.
            items: All objects of the kind, trimmed or not.
            listed: Resource version of the list; newer objects in the cache are kept.
            namespace: Namespace of the list; empty: all namespaces.

        Returns:
            Keys of the workloads whose objects changed, including changes that the watches missed.
        """
        touched: set[Key] = set()
        names = set()
        if listed < self._last_list(kind, namespace):
            return set()
        for item in items:
            names.add(_name(item))
            if self._put(item, -1):
                touched |= self.affected(item)
        for name, known in list(self._objects[kind].items()):
            if namespace in ("", name.namespace) and name not in names and resource_version(known) <= listed:
                touched |= self.affected(known)
                self._drop(name)
        self._listed[kind, namespace] = listed
        # `put` refuses what is not newer than the list, so earlier deletions need not be remembered.
        self._deleted = {
            name: gone
            for name, gone in self._deleted.items()
            if name.kind != kind or namespace not in ("", name.namespace) or gone > listed
        }
        return touched

    def _last_list(self, kind: str, namespace: str) -> int:
        """Resource version of the last list that contained a namespace."""
        return max(self._listed.get((kind, namespace), -1), self._listed.get((kind, ""), -1))

    def _labelled(self, key: Key, kind: str) -> list[Object]:
        found = [self._objects[kind][name] for name in self._children.get(key, ()) if name.kind == kind]
        return sorted(found, key=lambda item: (item["metadata"].get("creationTimestamp", ""), item["metadata"]["name"]))

    def _set(self, name: _Name, item: Object) -> None:
        self._drop(name)
        self._objects[name.kind][name] = trimmed(item)
        key = key_of(item)
        self._notify(key)
        if key is not None and name.kind not in LABELS:
            self._children[key].add(name)
        if job := _job_of_scene(item):
            self._scenes[job].add(name.name)

    def _drop(self, name: _Name) -> None:
        known = self._objects[name.kind].pop(name, None)
        key = key_of(known) if known else None
        self._notify(key)
        if known and (job := _job_of_scene(known)):
            self._scenes[job].discard(name.name)
            if not self._scenes[job]:
                del self._scenes[job]
        if key is not None and key in self._children:
            self._children[key].discard(name)
            if not self._children[key]:
                del self._children[key]

    def _notify(self, key: Key | None) -> None:
        if key is not None:
            for changes in self._changes:
                changes.add(key)


def _job_of_scene(item: Object) -> Key | None:
    """The DreamBoothJob that a DreamBoothScene names."""
    spec = item.get("spec")
    name = spec.get("jobName") if item["kind"] == SCENE_KIND and isinstance(spec, Mapping) else None
    return Key(item["metadata"]["namespace"], name) if isinstance(name, str) else None


def _name(item: Object) -> _Name:
    return _Name(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
