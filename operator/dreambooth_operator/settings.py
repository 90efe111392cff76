"""Settings of the operator, read from the environment once, at start.

Each field's variable is `DREAMBOOTH_` and its name in capitals: `DREAMBOOTH_TRAINER_IMAGE`. Lists are written as JSON or with
commas.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, IPvAnyNetwork

from dreambooth_api.sections import AllowedImage

PREFIX = "DREAMBOOTH_"


def _split(value: Any) -> Any:
    return [entry.strip() for entry in value.split(",") if entry.strip()] if isinstance(value, str) else value


class Settings(BaseModel):
    """What the administrator decides for all jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    trainer_image: Annotated[str, Field(min_length=1)]
    """Image of the trainer."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull the trainer's image."""
    image_pull_secrets: Annotated[list[str], BeforeValidator(_split)] = []
    """Names of Secrets in the jobs' namespaces by which nodes pull the image."""
    allowed_images: Annotated[list[AllowedImage], BeforeValidator(_split)] = []
    """Images that `spec.image` may name where no DreamBoothRuntime says it: whole references, or prefixes that end with `/*`,
    `:*` or `@*`. Default: none."""
    trainer_port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Port of `/progress`, `/metrics` and `/healthz` in trainer pods."""

    network_policies: bool = True
    """Whether a NetworkPolicy is made around the pods of each job."""
    monitoring_namespaces: Annotated[list[str], BeforeValidator(_split)] = []
    """Namespaces whose pods, Prometheus among them, may reach the port of trainers. Default: none but the operator."""
    hub_networks: Annotated[list[IPvAnyNetwork], BeforeValidator(_split)] = [
        IPv4Network("0.0.0.0/0"),
        IPv6Network("::/0"),
    ]
    """Networks where trainers whose model or encoder is of a hub may reach it, at port 443. Private networks inside of them
    are left out, unless they are named themselves; an empty list closes the way."""
    trainer_networks: Annotated[list[IPvAnyNetwork], BeforeValidator(_split)] = []
    """Networks (CIDR) in which trainers are asked about their progress. Default: all but loopback and link-local ones."""

    namespaces: Annotated[list[str], BeforeValidator(_split)] = []
    """Namespaces whose jobs are served. Default: all."""
    namespace: str = "default"
    """The operator's own namespace, where the Lease is."""
    identity: str = Field(default_factory=lambda: os.environ.get("HOSTNAME", "operator"))
    """This replica's name in the Lease."""
    lease_name: str = "dreambooth-operator"
    """Name of the Lease by which replicas choose a leader."""
    lease_seconds: Annotated[int, Field(ge=3, le=300)] = 15
    """Seconds after which another replica may take an unrenewed Lease over."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9090
    """Port of the operator's own `/healthz`, `/readyz` and `/metrics`; 0: any free one."""
    log_format: Literal["plain", "json"] = "plain"
    """How log lines are written: for people, or one JSON object a line."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level of the log lines that are written."""

    workers: Annotated[int, Field(ge=1, le=100)] = 8
    """Jobs that are reconciled at the same time."""
    resync_seconds: Annotated[float, Field(gt=0)] = 300
    """Seconds after which everything is listed anew, whatever the watches said."""
    poll_seconds: Annotated[float, Field(gt=0)] = 5
    """Seconds between two questions to the same trainer about its progress, if not more of them run than can be asked."""
    polls_at_once: Annotated[int, Field(ge=1, le=500)] = 20
    """Trainers that are asked at the same time."""
    poll_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    """Seconds within which a trainer must have answered in full."""
    status_writes_per_second: Annotated[float, Field(gt=0)] = 10
    """Writes of progress alone, over all jobs together; changes of a phase or a condition are written at once."""


def settings_from(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment gives.

    Raises:
        pydantic.ValidationError: names each variable that is missing, unknown or out of bounds.
    """
    given = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    return Settings.model_validate(given)
