"""`DreamBoothRuntime`: what an administrator lets jobs run with, and how much of it.

Published once for the cluster; jobs choose one by name (`spec.runtime`), or get the default one of their namespace. Read by
`crd.py`, policies and builders.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.quantities import Quantity
from dreambooth_api.sections import (
    AllowedImage,
    CacheVolume,
    GpuResourceName,
    ImageReference,
    QualifiedName,
    Toleration,
)
from dreambooth_api.training import ObjectName, Section

RUNTIME_KIND = "DreamBoothRuntime"
RUNTIME_PLURAL = "dreamboothruntimes"

LabelValue = Annotated[str, Field(max_length=63)]
Labels = Annotated[dict[QualifiedName, LabelValue], Field(max_length=20)]


class LabelRequirement(Section):
    """What must hold for one label."""

    key: QualifiedName
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared."""
    values: Annotated[list[LabelValue], Field(max_length=100)] = []
    """Values, for `In` and `NotIn`."""


class LabelSelector(Section):
    """Selects by labels: everything that is said must hold."""

    match_labels: Labels = {}
    """Labels with the value that they must have."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=20)] = []
    """Further requirements. `kubernetes.io/metadata.name` is the label that holds a namespace's name."""


class RuntimeResources(Section):
    """What each pod gets, whatever its job says; what is not given here is the job's to say."""

    cpu: Quantity | None = None
    """CPU cores (request)."""
    memory: Quantity | None = None
    """Memory (request and limit)."""
    shared_memory: Quantity | None = None
    """Upper bound of /dev/shm; counts towards the memory."""
    ephemeral_storage: Quantity | None = None
    """Disk of the node for temporary files and logs (request and limit)."""
    gpu_resource_name: GpuResourceName | None = None
    """Extended resource by which the cluster counts the GPUs."""


class RuntimeVolumes(Section):
    """Volumes that jobs get beside their own."""

    cache: CacheVolume | None = None
    """Class images and downloaded models of jobs that name no cache: a claim of this name in each namespace."""


class RuntimeLimits(Section):
    """What a job may ask for at most. Default of each: no limit beyond that of the job's own field."""

    steps: Annotated[int, Field(ge=1)] | None = None
    """`training.steps`."""
    nodes: Annotated[int, Field(ge=1)] | None = None
    """`resources.nodes`."""
    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    """`resources.gpusPerNode`."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of all nodes together."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """`activeDeadlineSeconds`; a job that says none has this one."""


class DreamBoothRuntimeSpec(Section):
    """What pods get, what jobs may choose, and how much."""

    default: bool = False
    """Whether jobs that name no runtime get this one. Of several that a namespace may use, the one created last counts."""
    namespace_selector: LabelSelector = LabelSelector()
    """Labels of the namespaces whose jobs may use it. Default: all namespaces."""
    image: ImageReference | None = None
    """Image of the trainer. Default: the operator's."""
    allowed_images: Annotated[list[AllowedImage], Field(max_length=100)] = []
    """Images that `spec.image` of a job may name instead: whole references, or prefixes that end with `/*`, `:*` or `@*`.
    Default: none."""
    allowed_photo_images: Annotated[list[AllowedImage], Field(max_length=100)] = []
    """Images that `subject.images.image` of a job may name, likewise. Default: none."""
    resources: RuntimeResources = RuntimeResources()
    node_selector: Labels = {}
    """Labels that a node must have; jobs may ask for more of them."""
    tolerations: Annotated[list[Toleration], Field(max_length=20)] = []
    """Taints that the pods tolerate; jobs may not add any."""
    priority_class_names: Annotated[list[ObjectName], Field(max_length=20)] = []
    """PriorityClasses that jobs may name; a job that names none gets the first. Default: none."""
    queue_names: Annotated[list[ObjectName], Field(max_length=20)] = []
    """Kueue's LocalQueues that jobs may name; a job that names none gets the first. Default: any of the job's namespace,
    or none."""
    volumes: RuntimeVolumes = RuntimeVolumes()
    limits: RuntimeLimits = RuntimeLimits()


class DreamBoothRuntime(BaseModel):
    """What jobs run with, published by an administrator."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    spec: DreamBoothRuntimeSpec
    """What pods get, what jobs may choose, and how much."""


class Runtime(NamedTuple):
    """What a job runs with."""

    name: str | None
    """The DreamBoothRuntime; None: what the operator's settings say."""
    spec: DreamBoothRuntimeSpec
    """What it says."""
