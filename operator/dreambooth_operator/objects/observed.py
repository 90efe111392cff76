"""Input and output of `decide/reconcile.py`: `Observed` and `Plan`. The input comes from `kube/cache.py`, `kube/client.py` and
`poll/poller.py`; `control/writer.py` carries out the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from dreambooth_api.job import KIND
from dreambooth_api.progress import Snapshot

Object = Mapping[str, Any]
"""A Kubernetes object as JSON."""


class Key(NamedTuple):
    """Namespace, name and kind of a workload."""

    namespace: str
    name: str
    kind: str = KIND

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Reference(NamedTuple):
    """An object in the namespace of the workload, or the namespace itself."""

    kind: str
    name: str


class InvalidField(NamedTuple):
    """A field of an object that the API server calls invalid."""

    path: str
    """Its path: `spec.template.spec.tolerations[0].operator`."""
    message: str
    """Why it is invalid."""


@dataclass(frozen=True)
class Observed:
    """Everything that a decision about one workload depends on, except the time and the settings."""

    owner: Object
    """The workload: a DreamBoothJob or DreamBoothScene."""
    trained: Object | None = None
    """The DreamBoothJob that a DreamBoothScene names, if it exists."""
    jobs: Sequence[Object] = ()
    """All Jobs with the label of its name: those of its attempts, and leftovers of an earlier workload."""
    pods: Sequence[Object] = ()
    """All pods with the label of its name: those of its attempts, and leftovers of an earlier workload."""
    runtimes: Sequence[Object] = ()
    """All DreamBoothRuntimes."""
    referenced: Mapping[Reference, Object | None] = field(default_factory=dict)
    """The objects that `references` in `decide/reconcile.py` requests; None for an object that does not exist. A ConfigMap has
    only its metadata."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Why volumes of a pod can't be mounted: the messages of its latest Events FailedAttachVolume and FailedMount, by the name of
    the pod. Read only while the creation of a pod takes longer than usual."""
    unbound_claims: Mapping[str, str] = field(default_factory=dict)
    """The claims of unscheduled pods that have no volume, each with the reason in its Events, which may be empty. Read only while
    a pod has no node for longer than usual."""
    pod_creation_failures: Mapping[str, str] = field(default_factory=dict)
    """Why pods of a Job can't be created: the message of its latest FailedCreate Event, by the name of the Job. Read only while
    the Job lacks pods for longer than usual."""
    refusals: Mapping[Reference, str] = field(default_factory=dict)
    """The objects that the API server refused to apply or create last time, and its messages: quota, admission, permissions."""
    invalid_fields: Sequence[InvalidField] = ()
    """The fields of these objects that the API server calls invalid."""
    snapshot: Snapshot | None = None
    """The latest progress that the trainer of the newest attempt reported since the operator started."""
    progress_since: datetime | None = None
    """Since when the progress of the newest main pod is unchanged, or since the operator polls it, if that is later."""
    progress_error: str | None = None
    """Why the operator rejects the trainer's answers; None while it accepts them or gets none."""


@dataclass(frozen=True)
class Event:
    """An Event to record about a workload."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """The writes for one workload, in this order: check, apply, create, write the status, delete, record Events. If a Job is
    created, the other writes are left to the next plan, which follows at once."""

    status: Object
    """The whole status; written if it differs from the one in `Observed.owner`."""
    check: Sequence[Object] = ()
    """Objects to create that the API server validates first: if one is invalid, nothing is written."""
    apply: Sequence[Object] = ()
    """Objects to apply (server-side), in any order."""
    create: Sequence[Object] = ()
    """Objects to create, in this order. An object that exists is left unchanged: it is immutable, or other controllers write
    to it as well."""
    delete: Sequence[Reference] = ()
    """Objects to delete with foreground propagation: they exist until their dependents are deleted."""
    events: Sequence[Event] = ()
    """Events about transitions."""
    requeue_after: float | None = None
    """Seconds after which the workload is reconciled again even if nothing changes; None: never."""
