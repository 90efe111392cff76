"""Settings of the operator. They are read from the environment once, at the start.

The variable of a field is `DREAMBOOTH_` and its name in upper case: `DREAMBOOTH_TRAINER_IMAGE`. Lists are comma-separated.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyNetwork, ValidationInfo, field_validator

from dreambooth_api.sections import AllowedImage, AllowedUpload
from dreambooth_api.training import ObjectName

PREFIX = "DREAMBOOTH_"


def _split(value: Any) -> Any:
    return [entry.strip() for entry in value.split(",") if entry.strip()] if isinstance(value, str) else value


class Settings(BaseModel):
    """The settings of the operator, which apply to all DreamBoothJobs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trainer_image: Annotated[str, Field(min_length=1)]
    """Image of the trainer."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Image pull policy of the trainer."""
    image_pull_secrets: Annotated[list[str], BeforeValidator(_split)] = []
    """Names of image pull Secrets in the namespaces of DreamBoothJobs."""
    allowed_images: Annotated[list[AllowedImage], BeforeValidator(_split)] = []
    """Images that `spec.image` may name in namespaces without a DreamBoothRuntime: complete references, or prefixes that end with
    `/*`, `:*` or `@*`. Default: none."""
    allowed_uploads: Annotated[list[AllowedUpload], BeforeValidator(_split)] = []
    """Destinations that `output.upload.to` may name in namespaces without a DreamBoothRuntime: whole ones, or prefixes that end
    with `/*`. Default: none."""
    token_secret_names: Annotated[list[ObjectName], BeforeValidator(_split)] = []
    """Secrets that DreamBoothJobs may name in namespaces without a DreamBoothRuntime. Default: none."""
    trainer_port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Port of `/progress`, `/metrics` and `/healthz` in trainer pods."""

    network_policies: bool = True
    """Whether to create a NetworkPolicy for the pods of each DreamBoothJob."""
    monitoring_namespaces: Annotated[list[str], BeforeValidator(_split)] = []
    """Namespaces from which pods, such as Prometheus, may connect to the port of trainers. Default: only the operator may."""
    dns_namespaces: Annotated[list[str], BeforeValidator(_split)] = []
    """Namespaces to whose pods trainers may send DNS requests. Without namespaces and networks, they may send them anywhere."""
    dns_networks: Annotated[list[IPvAnyNetwork], BeforeValidator(_split)] = []
    """Networks (CIDR) to which trainers may send DNS requests, such as the address of a cache on each node."""
    hub_networks: Annotated[list[IPvAnyNetwork], BeforeValidator(_split)] = [
        IPv4Network("0.0.0.0/0"),
        IPv6Network("::/0"),
    ]
    """Networks in which trainers may connect to a model hub or another service that their spec names, on `hubPorts`. Private
    networks inside are excluded, unless they are listed themselves. With an empty list, no connections are allowed."""
    hub_ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], BeforeValidator(_split)] = [443]
    """Ports of these services, or of the proxy to them, to which trainers may connect."""
    trainer_networks: Annotated[list[IPvAnyNetwork], BeforeValidator(_split)] = []
    """Networks (CIDR) in which trainers are polled for their progress. Default: all except loopback and link-local networks."""

    namespaces: Annotated[list[str], BeforeValidator(_split)] = []
    """Namespaces that the operator watches. Default: all."""
    namespace_selector: str = ""
    """Label selector of the namespaces that the operator watches, instead of their names: `team=vision`, `env in (a,b)`. It
    follows changes of labels."""
    namespace: str = "default"
    """Namespace of the operator and its Lease."""
    identity: str = Field(default_factory=lambda: os.environ.get("HOSTNAME", "operator"))
    """Identity of this replica in the Lease."""
    lease_name: str = "dreambooth-operator"
    """Name of the Lease for leader election."""
    lease_seconds: Annotated[int, Field(ge=3, le=300)] = 15
    """Duration of the Lease in seconds; if it is not renewed, another replica takes it over afterwards."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9090
    """Port of `/healthz`, `/readyz` and `/metrics` of the operator; 0: any free port."""
    log_format: Literal["plain", "json"] = "plain"
    """Format of log lines: plain text, or one JSON object per line."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Minimum level of log lines."""

    workers: Annotated[int, Field(ge=1, le=100)] = 8
    """Number of DreamBoothJobs that are reconciled at the same time; up to eight times as many while the API server responds
    within a second."""
    resync_seconds: Annotated[float, Field(gt=0)] = 300
    """Interval in seconds between two complete lists of all watched kinds."""
    poll_seconds: Annotated[float, Field(gt=0)] = 5
    """Interval in seconds between two polls of a trainer; longer if there are more trainers than can be polled in it. At most 100
    trainers are polled per second."""
    polls_at_once: Annotated[int, Field(ge=1, le=500)] = 20
    """Number of trainers that are polled at the same time."""
    poll_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    """Timeout of a poll in seconds."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds after its end when a DreamBoothJob is deleted, if neither it nor its runtime sets this. Default: it is kept."""
    status_writes_per_second: Annotated[float, Field(gt=0)] = 10
    """Largest rate of status updates for progress, over all DreamBoothJobs. Changes of phases and conditions are not limited."""

    @field_validator("namespace_selector")
    @classmethod
    def _alone(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("namespaces"):
            raise ValueError(f"{value!r} can't be combined with {PREFIX}NAMESPACES: set one of them")
        return value


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Reads the settings from environment variables.

    Raises:
        pydantic.ValidationError: lists all variables that are missing, unknown or out of range.
    """
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    return Settings.model_validate(given)
