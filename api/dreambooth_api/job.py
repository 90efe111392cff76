"""`DreamBoothJob`: photos of a subject in, a personalised diffusion model out. Read by command line and operator.

Importable without torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.sections import ImageReference, Resources, Scheduling, Volumes
from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_api.training import TrainConfig

GROUP = "dreambooth.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "DreamBoothJob"
PLURAL = "dreamboothjobs"

NAME_LENGTH = 50
"""Longest name of a job: names of its pods, which are labels of at most 63 characters, begin with it."""

JobName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""A label of RFC 1035, as names of Services must be."""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A label of RFC 1123."""


RuntimeName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of a DreamBoothRuntime, which is also the value of a label."""


class Metadata(BaseModel):
    """What this program reads of Kubernetes' ObjectMeta; the rest is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    name: JobName
    """Name of the job: lower-case letters, digits and hyphens, a letter first."""
    namespace: Label | None = None
    """Namespace of the job. Default: that of the kubectl context."""


class DreamBoothJobSpec(TrainConfig):
    """What to train, how and where."""

    resources: Resources = Resources()
    volumes: Volumes = Volumes()
    scheduling: Scheduling = Scheduling()
    suspend: bool = False
    """Whether the job waits: pods of a running one save their state and end, and go on when this is false again."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds from the start of the first attempt after which the job fails, waiting while suspended not counted.
    Default: none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds after the end when the DreamBoothJob is deleted; what becomes of the claim is `volumes.output.create`'s to
    say. Default: it stays."""
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """Attempts after the first, each from the last checkpoint, when an attempt ended by what a further one may mend.
    Disruptions by the cluster don't count."""
    runtime: RuntimeName | None = None
    """The DreamBoothRuntime to run with: what pods get, and how much. Default: the default one of the namespace; where the
    administrator published none for it, what the operator's settings say."""
    image: ImageReference | None = None
    """Image of the trainer, where the runtime allows it. Default: the runtime's, else the operator's."""

    @property
    def train_config(self) -> TrainConfig:
        """The sections that the trainer reads, those that were not given still unset."""
        given = {name: getattr(self, name) for name in TrainConfig.model_fields if name in self.model_fields_set}
        return TrainConfig.model_construct(**given)


class DreamBoothJob(BaseModel):
    """A fine-tuning job."""

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
    """Where it stands: written by the operator alone."""
