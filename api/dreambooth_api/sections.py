"""Sections of a `DreamBoothJob` that apply in a cluster only; `job.py` adds them to those of the trainer."""

from typing import Annotated, Literal

from pydantic import Field

from dreambooth_api.quantities import Quantity
from dreambooth_api.training import SUBDOMAIN, ObjectName, Section

NAME = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
"""Pattern of the part of a qualified name after its domain."""
QUALIFIED_NAME = f"({SUBDOMAIN}/)?{NAME}"
"""Pattern of `[prefix/]name`."""

QualifiedName = Annotated[str, Field(min_length=1, max_length=317, pattern=f"^{QUALIFIED_NAME}$")]
"""Key of a label or of a taint: `[prefix/]name`."""

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
"""Value of a label or of a taint; it may be empty."""

QueueName = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{SUBDOMAIN}$")]
"""Name of a LocalQueue, which is the value of a label."""

PriorityLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{SUBDOMAIN}$")]
"""Name of a WorkloadPriorityClass, which is the value of a label."""

StorageClassName = Annotated[str, Field(max_length=253, pattern=f"^({SUBDOMAIN})?$")]
"""Name of a StorageClass; an empty one requests a volume without a class."""

FolderPath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/\x00][^\x00]*$")]
"""Path inside a volume, relative to its root."""


GpuResourceName = Annotated[str, Field(max_length=317, pattern=f"^{SUBDOMAIN}/{NAME}$")]
"""An extended resource, which has a domain: `cpu` or `hugepages-2Mi`, which Kubernetes itself counts, are none."""

ImageReference = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")]
"""Reference of an image: `registry/name:tag` or `registry/name@sha256:...`."""

AllowedImage = Annotated[
    str, Field(max_length=500, pattern=r"^(\*|[A-Za-z0-9]([A-Za-z0-9._/:@-]*[/:@]\*|[A-Za-z0-9._/:@-]*))$")
]
"""An image, or a prefix of some. A prefix ends where a name does, as `registry.io*` would be `registry.io.evil.com` too."""

ALLOWED_UPLOAD = r"^(s3|hf)://[A-Za-z0-9][A-Za-z0-9._=/-]*(/\*)?$"
"""Pattern of a destination of uploads, or of the beginning of some."""
AllowedUpload = Annotated[str, Field(max_length=1024, pattern=ALLOWED_UPLOAD)]

_REPOSITORY = "[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"
_ON_CLAIM = f"pvc://{SUBDOMAIN}(/.*)?"

MODEL_SOURCE = f"embedded://[a-z0-9-]+|hf://{_REPOSITORY}|{_ON_CLAIM}"
"""Where pods find models: pattern of the whole text."""

ADAPTER_SOURCE = f"hf://{_REPOSITORY}|{_ON_CLAIM}"
"""Where pods find low-rank adapters, likewise."""

MODEL_CONFIG = f"{_REPOSITORY}|{_ON_CLAIM}"
"""Where pods find the configuration of a single-file checkpoint, likewise."""


class Resources(Section):
    """Resources of each pod."""

    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods that train together. More than one needs volumes that all nodes can mount for writing (ReadWriteMany)."""
    gpus_per_node: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs of a pod, with one process of the trainer for each; 0: one process on the CPU."""
    gpu_resource_name: GpuResourceName = "nvidia.com/gpu"
    """Extended resource by which the cluster counts GPUs."""
    cpu: Quantity = "4"
    """CPU cores of a pod (request)."""
    memory: Quantity = "16Gi"
    """Memory of a pod (request and limit)."""
    shared_memory: Quantity = "2Gi"
    """Size limit of /dev/shm, through which processes of a pod exchange tensors; it is part of the memory."""
    ephemeral_storage: Quantity | None = None
    """Disk of the node for temporary files and logs of a pod (request and limit). Default: no limit."""


class NewClaim(Section):
    """A PersistentVolumeClaim that the operator creates for the DreamBoothJob."""

    size: Quantity = "20Gi"
    """Requested size."""
    storage_class_name: StorageClassName | None = None
    """Class of the storage. Default: the cluster's default class."""
    access_modes: (
        Annotated[
            list[Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]], Field(min_length=1, max_length=3)
        ]
        | None
    ) = None
    """How the volume may be mounted. Default: ReadWriteOnce, with several nodes ReadWriteMany."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the claim, and to the weights on it, when the DreamBoothJob is deleted."""


class OutputVolume(Section):
    """The volume of the run's folder: an existing claim or a new one."""

    claim_name: ObjectName | None = None
    """An existing claim of the same namespace. Default: a new claim with the name of the DreamBoothJob."""
    path: FolderPath | None = None
    """Folder of the run inside the volume. Default: the name of the DreamBoothJob."""
    create: NewClaim = NewClaim()
    """The new claim; used where `claimName` is not given."""


class CacheVolume(Section):
    """An existing claim whose class images and downloaded models several DreamBoothJobs share."""

    claim_name: ObjectName
    """A claim of the same namespace."""
    path: FolderPath | None = None
    """Folder of the cache inside the volume. Default: its root."""


class Volumes(Section):
    """Volumes of outputs and caches."""

    output: OutputVolume = OutputVolume()
    """Output of the run: checkpoints, model, pictures, report."""
    cache: CacheVolume | None = None
    """Class images and downloaded models, shared with other DreamBoothJobs. Default: the runtime's cache, else a folder of the
    output volume."""


class Toleration(Section):
    """A taint that the pods tolerate."""

    key: QualifiedName | None = None
    """Key of the taint. Default: all keys, which needs the operator `Exists`."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How key and value are compared."""
    value: LabelValue | None = None
    """Value of the taint, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: all effects."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long a taint with the effect `NoExecute`, which must be given, is tolerated. Default: for ever."""


class Topology(Section):
    """Where the pods of several nodes must run together, for Kueue's topology-aware scheduling: one level of a topology, by the
    label of nodes that names it."""

    required: QualifiedName | None = None
    """All pods run within one domain of this level, or none of them."""
    preferred: QualifiedName | None = None
    """All pods run within one domain of this level if possible, else within few."""


class Scheduling(Section):
    """Which nodes may run the pods, and when."""

    node_selector: Annotated[dict[QualifiedName, LabelValue], Field(max_length=20)] = {}
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=20)] = []
    """Taints that the pods tolerate, where the runtime allows them. Default: the runtime's."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods, where the runtime allows it. Default: the runtime's. It can be changed while `suspend` is
    true."""
    queue_name: QueueName | None = None
    """Kueue's LocalQueue, of the same namespace, that admits the DreamBoothJob. Default: the runtime's; without one, it
    starts at once. It can be changed while `suspend` is true."""
    workload_priority_class_name: PriorityLabel | None = None
    """Kueue's WorkloadPriorityClass, where the runtime allows it: the order in the queue and preemption, independent of the
    priority of the pods. It needs a queue. Default: the runtime's. It can be changed while `suspend` is true."""
    topology: Topology | None = None
    """Where the pods run together, if the queue has a topology. Default: the runtime's."""
