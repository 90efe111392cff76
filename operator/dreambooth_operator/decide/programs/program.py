"""`Program`: what the pods of a workload run, what they read and where they write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dreambooth_api.sections import NewClaim
from dreambooth_api.training import Images, Section
from dreambooth_operator.objects.folders import Folder


@dataclass(frozen=True)
class ClaimMount:
    """A PersistentVolumeClaim that pods mount."""

    claim: str
    path: str
    """Where it is mounted."""
    volume: str
    """Name of its volume, unless the claim has one already."""
    field: str | None
    """The field of the spec that names it; None: the operator creates the claim."""
    written: bool = False
    """Whether pods write to it."""


class Pictures(NamedTuple):
    """Photos or class images that pods read."""

    field: str
    """The field of the spec that names them."""
    images: Images


class SecretVariable(NamedTuple):
    """A variable of the environment that the kubelet fills from a Secret."""

    variable: str
    secret: str
    """Name of the Secret."""
    key: str
    """Key in it."""
    field: str
    """The field of the spec that names the Secret."""
    optional: bool = False
    """Whether the Secret may lack the key."""


@dataclass(frozen=True)
class Program:
    """What the pods of a workload run."""

    module: str
    """The Python module of the trainer."""
    arguments: Sequence[str]
    """Its arguments, further to those of all programs."""
    launched: bool
    """Whether a launcher starts the module, once for each GPU."""
    file: str
    """Name of the file with its settings."""
    settings: Section
    """The settings."""
    output: Folder
    """Where it writes."""
    claims: Sequence[ClaimMount]
    """The claims that are mounted, that of the output first."""
    cache: str
    """Folder of downloaded models inside the pods."""
    created: NewClaim | None = None
    """The claim for the output that the operator creates; None: it exists."""
    pictures: Mapping[str, Pictures] = field(default_factory=dict)
    """Pictures from ConfigMaps, claims and images, by the names of their volumes."""
    secrets: Sequence[SecretVariable] = ()
    """Tokens and keys for services outside of the cluster."""
    uses_services: bool = False
    """Whether it may connect to such a service: to download a model, to log to Weights & Biases, or to upload."""
    upload: str | None = None
    """Where it uploads its results to."""
