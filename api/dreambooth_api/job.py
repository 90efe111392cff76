"""`DreamBoothJob`: photos of a subject in, a personalised diffusion model out. Command line and operator read it.

Importable without torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.sections import Volumes
from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_api.training import TrainConfig
from dreambooth_api.workload import NAME_PATTERN, ObjectMetadata, WorkloadSpec

KIND = "DreamBoothJob"
PLURAL = "dreamboothjobs"

NAME_LENGTH = 50
"""Longest name of a DreamBoothJob: the names of its pods, which are labels of at most 63 characters, begin with it."""

JobName = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH, pattern=NAME_PATTERN)]


class Metadata(ObjectMetadata):
    """The fields of a DreamBoothJob's metadata that are read."""

    name: JobName
    """Name of the DreamBoothJob: lower-case letters, digits and hyphens, a letter first."""


class DreamBoothJobSpec(WorkloadSpec, TrainConfig):
    """What to train, how and where."""

    volumes: Volumes = Volumes()

    @property
    def train_config(self) -> TrainConfig:
        """The sections that the trainer reads, with fields that were not given left unset."""
        return self.given(TrainConfig)


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
