"""`DreamBoothJob`: photos of a subject in, a personalised diffusion model out. Read by the command line.

Importable without torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_trainer.config import TrainConfig

API_VERSION = "dreambooth.io/v1alpha1"
KIND = "DreamBoothJob"

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A label of RFC 1123, as names of Services and hosts must be."""


class Metadata(BaseModel):
    """What this program reads of Kubernetes' ObjectMeta; the rest is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    name: Label
    """Name of the job: lower-case letters, digits and hyphens."""
    namespace: Label | None = None
    """Namespace of the job. Default: that of the kubectl context."""


class DreamBoothJobSpec(TrainConfig):
    """What to train, and how."""


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
