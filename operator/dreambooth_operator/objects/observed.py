"""What reconciling reads and what it decides: the data between the edges (`kube/client.py`, `poll/poller.py`) and
`decide/reconcile.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dreambooth_api.progress import Snapshot

Object = Mapping[str, Any]
"""An object of Kubernetes, as its JSON has it."""


class Key(NamedTuple):
    """Which DreamBoothJob."""

    namespace: str
    name: str


class Reference(NamedTuple):
    """An object of the job's own namespace, or that namespace."""

    kind: Literal["PersistentVolumeClaim", "ConfigMap", "Job", "Service", "NetworkPolicy", "DreamBoothJob", "Namespace"]
    name: str


@dataclass(frozen=True)
class Observed:
    """All that a decision about one DreamBoothJob depends on, beside the time and the settings."""

    job: Object
    """The DreamBoothJob."""
    jobs: Sequence[Object] = ()
    """All Jobs that bear the label of its name: its own, of all attempts, and leftovers of an earlier DreamBoothJob."""
    pods: Sequence[Object] = ()
    """All pods that bear the label of its name, likewise."""
    runtimes: Sequence[Object] = ()
    """All DreamBoothRuntimes."""
    present: Mapping[Reference, Object | None] = field(default_factory=dict)
    """What `references` of `decide/reconcile.py` asked for: the object, of a ConfigMap its metadata alone, or None where it does
    not exist."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Why volumes of a pod can't be mounted: message of its latest FailedMount Event, by the pod's name; asked for only while
    a pod is being created for longer than usual."""
    pod_refusals: Mapping[str, str] = field(default_factory=dict)
    """Why pods of a Job can't be made: message of its latest FailedCreate Event, by the Job's name; asked for only while it
    lacks pods for longer than usual."""
    refusals: Mapping[Reference, str] = field(default_factory=dict)
    """What the API server refused to apply or create the last time, and its message: quota, admission, permissions."""
    snapshot: Snapshot | None = None
    """What the trainer of the newest attempt told last, in this life of the operator."""
    distrust: str | None = None
    """Why nothing that it answers is believed; None while its answers are, or while it gives none."""


@dataclass(frozen=True)
class Event:
    """An Event to emit about the DreamBoothJob."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What shall be done for one DreamBoothJob, in this order: make objects, write the status, delete, emit."""

    status: Object
    """The whole status; written if it differs from the one in `Observed.job`."""
    apply: Sequence[Object] = ()
    """Objects to apply (server-side), in their order."""
    create: Sequence[Object] = ()
    """Objects to create after those, in their order. One that exists is left as it is: it can't be changed, or others write
    into it too."""
    delete: Sequence[Reference] = ()
    """Objects to delete after all that they own; they stay visible until that is gone."""
    events: Sequence[Event] = ()
    """What is worth an Event: transitions only."""
    again_after: float | None = None
    """Seconds until something is due that no event will announce; None for nothing."""
