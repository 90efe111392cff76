"""`DreamBoothJob`: photos of a subject in, a personalised diffusion model out. Command line and operator read it.

Importable without torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.sections import ImageReference, Resources, Scheduling, Volumes
from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_api.training import SUBDOMAIN, TrainConfig

GROUP = "dreambooth.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "DreamBoothJob"
PLURAL = "dreamboothjobs"

NAME_LENGTH = 50
"""Longest name of a DreamBoothJob: the names of its pods, which are labels of at most 63 characters, begin with it."""

JobName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""A label of RFC 1035, as for names of Services."""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A label of RFC 1123."""


RuntimeName = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{SUBDOMAIN}$")]
"""Name of a DreamBoothRuntime, which is also the value of a label."""


class Metadata(BaseModel):
    """The fields of Kubernetes' ObjectMeta that are read; the others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    name: JobName
    """Name of the DreamBoothJob: lower-case letters, digits and hyphens, a letter first."""
    namespace: Label | None = None
    """Namespace of the DreamBoothJob. Default: that of the kubectl context."""


class DreamBoothJobSpec(TrainConfig):
    """What to train, how and where."""

    resources: Resources = Resources()
    volumes: Volumes = Volumes()
    scheduling: Scheduling = Scheduling()
    suspend: bool = False
    """Whether the DreamBoothJob waits: the pods save their state and end; the training resumes when this is false."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds from the start of the first pod on a node after which the DreamBoothJob fails, whatever its later pods wait for;
    time while suspended or in a queue doesn't count. `pendingDeadlineSeconds` limits the time before. Default: the runtime's
    limit, else none."""
    pending_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds after which the DreamBoothJob fails if no pod has started on a node, for example because none can be scheduled;
    time while suspended or in a queue doesn't count. Default: the runtime's, else none."""
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """Seconds without progress after which an attempt ends with the reason `Stalled`, which `retries` counts. Default: the
    runtime's, else none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds after its end when the DreamBoothJob is deleted; `volumes.output.create` says whether its claim is deleted
    too. Default: the runtime's, else the operator's, else it is not deleted."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Further attempts, each from the last checkpoint, after failures that may be temporary. Disruptions by the cluster
    don't count."""
    runtime: RuntimeName | None = None
    """The DreamBoothRuntime to run with: it sets what pods get, and how much. Default: the default one of the namespace;
    without one, the operator's settings."""
    image: ImageReference | None = None
    """Image of the trainer, where the runtime allows it. Default: the runtime's, else the operator's."""

    @property
    def train_config(self) -> TrainConfig:
        """The sections that the trainer reads, with fields that were not given left unset."""
        given = {name: getattr(self, name) for name in TrainConfig.model_fields if name in self.model_fields_set}
        return TrainConfig.model_construct(**given)


class DreamBoothJob(BaseModel):
    """A DreamBooth fine-tuning."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)

    api_version: Annotated[Literal["dreambooth.io/v1alpha1"], Field(alias="apiVersion")]
    """Version of this schema."""
    kind: Literal["DreamBoothJob"]
    """Name of this schema."""
    metadata: Metadata
    """Name and namespace."""
    spec: DreamBoothJobSpec
    """The settings."""
    status: DreamBoothJobStatus | None = None
    """Status, written by the operator."""
