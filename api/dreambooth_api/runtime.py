"""`DreamBoothRuntime`: what an administrator allows DreamBoothJobs to use, and how much of it.

It has cluster scope; DreamBoothJobs choose one by name (`spec.runtime`), or get the default one of their namespace.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.affinity import Affinity
from dreambooth_api.quantities import Quantity
from dreambooth_api.runtime_pods import Annotations, CaBundle, ExtendedResources, Labels, UserPolicy, Variable
from dreambooth_api.sections import (
    AllowedImage,
    AllowedUpload,
    CacheVolume,
    GpuResourceName,
    ImageReference,
    LabelValue,
    PriorityLabel,
    QualifiedName,
    QueueName,
    Toleration,
    Topology,
)
from dreambooth_api.status import Condition, StatusSection
from dreambooth_api.training import ObjectName, Section

RUNTIME_KIND = "DreamBoothRuntime"
RUNTIME_PLURAL = "dreamboothruntimes"


class LabelRequirement(Section):
    """A requirement on one label."""

    key: QualifiedName
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """Operator of the comparison."""
    values: Annotated[list[LabelValue], Field(max_length=100)] = []
    """Values, for `In` and `NotIn`."""


class LabelSelector(Section):
    """Selects by labels: all requirements must hold."""

    match_labels: Labels = {}
    """Labels with the value that they must have."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=20)] = []
    """Further requirements. `kubernetes.io/metadata.name` is the label that holds a namespace's name."""


class RuntimeResources(Section):
    """What each pod gets; these values override those of the DreamBoothJob, which sets the others."""

    cpu: Quantity | None = None
    """CPU cores (request)."""
    cpu_limit: Quantity | None = None
    """CPU cores (limit). Default: no limit."""
    memory: Quantity | None = None
    """Memory (request and limit)."""
    shared_memory: Quantity | None = None
    """Size limit of /dev/shm; it is part of the memory."""
    ephemeral_storage: Quantity | None = None
    """Disk of the node for temporary files and logs (request and limit)."""
    gpu_resource_name: GpuResourceName | None = None
    """Extended resource by which the cluster counts the GPUs."""
    extended: ExtendedResources = {}
    """Further extended resources of each pod, such as network devices for RDMA, each with its number."""


class RuntimeVolumes(Section):
    """Further volumes of the DreamBoothJobs."""

    cache: CacheVolume | None = None
    """Cache of class images and downloaded models for DreamBoothJobs that name none: a claim of this name in each
    namespace."""


class RuntimeLimits(Section):
    """Upper limits for a DreamBoothJob. Default of each: no limit beyond that of the field itself."""

    steps: Annotated[int, Field(ge=1)] | None = None
    """`training.steps`."""
    pictures: Annotated[int, Field(ge=1)] | None = None
    """Pictures of a DreamBoothScene: its prompts times `perPrompt`."""
    pixels: Annotated[int, Field(ge=1)] | None = None
    """Pixels of a picture of a DreamBoothScene: width times height, such as 1048576 for 1024 x 1024."""
    nodes: Annotated[int, Field(ge=1)] | None = None
    """`resources.nodes`."""
    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    """`resources.gpusPerNode`."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of all nodes together."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """`activeDeadlineSeconds`; also the default of DreamBoothJobs without one. It counts from the start of the first pod on a
    node; `defaults.pendingDeadlineSeconds` limits the time before."""


class RuntimeDefaults(Section):
    """Values for DreamBoothJobs that don't set these fields. Default of each: none."""

    pending_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """`pendingDeadlineSeconds`."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """`progressDeadlineSeconds`."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """`ttlSecondsAfterFinished`."""


class DreamBoothRuntimeSpec(Section):
    """What pods get, what DreamBoothJobs may choose, and how much."""

    default: bool = False
    """Whether DreamBoothJobs that name no runtime get this one. If a namespace may use several, the newest applies."""
    namespace_selector: LabelSelector = LabelSelector()
    """Labels of the namespaces whose DreamBoothJobs may use it. Default: all namespaces."""
    image: ImageReference | None = None
    """Image of the trainer. Default: the operator's."""
    allowed_images: Annotated[list[AllowedImage], Field(max_length=100)] = []
    """Images that `spec.image` of a DreamBoothJob may name instead: whole references, or prefixes that end with `/*`,
    `:*` or `@*`. Default: none."""
    allowed_photo_images: Annotated[list[AllowedImage], Field(max_length=100)] = []
    """Images that `subject.images.image` and `prior.source.image` of a DreamBoothJob may name, in the same form. Default:
    none."""
    token_secret_names: Annotated[list[ObjectName], Field(max_length=20)] = []
    """Secrets that a DreamBoothJob may name, in its namespace: `model.tokenSecret`, `monitoring.wandb.apiKeySecret` and
    `output.upload.secret`. Default: none, so that users who may only create DreamBoothJobs can't use the Secrets of the
    namespace."""
    allowed_uploads: Annotated[list[AllowedUpload], Field(max_length=100)] = []
    """Destinations that `output.upload.to` of a DreamBoothJob may name: whole ones, or prefixes that end with `/*`, such as
    `s3://bucket/*` and `hf://owner/*`. Default: none."""
    resources: RuntimeResources = RuntimeResources()
    node_selector: Labels = {}
    """Labels that a node must have; DreamBoothJobs may require more."""
    tolerations: Annotated[list[Toleration], Field(max_length=20)] = []
    """Taints that the pods tolerate; DreamBoothJobs can't add any."""
    affinity: Affinity | None = None
    """Further conditions and preferences for nodes. Default: none."""
    pod_labels: Labels = {}
    """Further labels of the pods."""
    pod_annotations: Annotations = {}
    """Further annotations of the pods."""
    scheduler_name: ObjectName | None = None
    """Scheduler of the pods. Default: that of the cluster."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, such as `nvidia`. Default: none."""
    image_pull_secret_names: Annotated[list[ObjectName], Field(max_length=20)] = []
    """Secrets in each namespace with which nodes pull the images. Default: those of the operator's settings."""
    pod_user: UserPolicy = "Fixed"
    """User of the pods. `Fixed`: user and group 65532. `Assigned`: the pods name none, and the platform assigns one, as
    OpenShift does; else it is that of the image."""
    env: Annotated[list[Variable], Field(max_length=50)] = []
    """Further variables of the environment, such as `HF_ENDPOINT` and `HTTPS_PROXY`."""
    ca_bundle: CaBundle | None = None
    """Certificates of the authorities that pods trust. Default: those of the image."""
    priority_class_names: Annotated[list[ObjectName], Field(max_length=20)] = []
    """PriorityClasses that DreamBoothJobs may name; one that names none gets the first. Default: none."""
    queue_names: Annotated[list[QueueName], Field(max_length=20)] = []
    """Kueue's LocalQueues that DreamBoothJobs may name; one that names none gets the first. Default: any of the namespace,
    or none."""
    workload_priority_class_names: Annotated[list[PriorityLabel], Field(max_length=20)] = []
    """Kueue's WorkloadPriorityClasses that DreamBoothJobs may name; one with a queue that names none gets the first. Default:
    none."""
    topology: Topology | None = None
    """Where Kueue places the pods of DreamBoothJobs with a queue that set no `scheduling.topology`. Default: anywhere."""
    volumes: RuntimeVolumes = RuntimeVolumes()
    limits: RuntimeLimits = RuntimeLimits()
    defaults: RuntimeDefaults = RuntimeDefaults()


class DreamBoothRuntimeStatus(StatusSection):
    """Status of a DreamBoothRuntime."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    conditions: list[Condition] = []
    """Conditions, by type. `Accepted`: the spec is valid for the operator, and DreamBoothJobs can use the runtime."""


class DreamBoothRuntime(BaseModel):
    """What DreamBoothJobs run with, defined by an administrator."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    spec: DreamBoothRuntimeSpec
    """What pods get, what DreamBoothJobs may choose, and how much."""
    status: DreamBoothRuntimeStatus | None = None
    """Status, written by the operator."""


class Runtime(NamedTuple):
    """What a DreamBoothJob runs with."""

    name: str | None
    """Name of the DreamBoothRuntime; None: the operator's settings apply."""
    spec: DreamBoothRuntimeSpec
    """Its spec."""
