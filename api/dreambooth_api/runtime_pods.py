"""Sections of a `DreamBoothRuntime` about the pods: labels, variables of the environment, certificates."""

import re
from typing import Annotated, Literal

from pydantic import Field

from dreambooth_api.sections import GpuResourceName, LabelValue, QualifiedName
from dreambooth_api.training import ObjectName, SecretKey, Section

Labels = Annotated[dict[QualifiedName, LabelValue], Field(max_length=20)]

Annotations = Annotated[dict[QualifiedName, Annotated[str, Field(max_length=4096)]], Field(max_length=20)]

ExtendedResources = Annotated[dict[GpuResourceName, Annotated[int, Field(ge=1, le=1_000_000)]], Field(max_length=10)]
"""Number of each extended resource."""

RESERVED_KEYS = (
    r"((app|batch)\.kubernetes\.io|([-a-z0-9]+\.)*dreambooth\.io|kueue\.x-k8s\.io)/.*|job-name|controller-uid"
)
"""Pattern of the labels and annotations that the operator, the Job controller and Kueue set on pods."""

OWN_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_TOKEN",
    "HF_UPLOAD_TOKEN",
    "HOME",
    "HUGGING_FACE_HUB_TOKEN",
    "OMP_NUM_THREADS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "USER",
    "WANDB_API_KEY",
    "XDG_CACHE_HOME",
)
"""Variables of the environment that the operator sets, or that would replace those."""

UserPolicy = Literal["Fixed", "Assigned"]


class Variable(Section):
    """A variable of the environment."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=4096)]
    """Its value, as it is: references to other variables are not replaced."""


class CaBundle(Section):
    """Certificates of the authorities that pods trust, instead of those of the image, when they connect to a model hub."""

    config_map_name: ObjectName
    """A ConfigMap in each namespace, such as one that trust-manager distributes."""
    key: SecretKey = "ca.crt"
    """Key of the certificates (PEM) in it."""


def is_reserved(key: str) -> bool:
    """Whether a label or annotation of pods belongs to the operator, the Job controller or Kueue."""
    return re.fullmatch(RESERVED_KEYS, key) is not None
