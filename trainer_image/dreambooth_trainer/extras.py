"""Libraries that only some settings need: the extras of the project's package."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

from dreambooth_api.failures import Problem
from dreambooth_api.training import TrainConfig


class Extra(NamedTuple):
    """A library and the settings that need it."""

    name: str
    """Name of the extra."""
    module: str
    """The module that is imported."""
    field: str
    """The field of the spec."""
    needed: Callable[[TrainConfig], bool]
    """Whether settings need it."""


EXTRAS = (
    Extra("tensorboard", "tensorboardX", "monitoring.tensorboard", lambda config: config.monitoring.tensorboard),
    Extra("wandb", "wandb", "monitoring.wandb", lambda config: config.monitoring.wandb is not None),
    Extra("s3", "s3fs", "output.upload", lambda config: bool(config.output.upload and not config.output.upload.on_hub)),
)
"""All of them."""


def missing_libraries(config: TrainConfig) -> Iterator[Problem]:
    """The settings whose libraries are not installed on this machine."""
    for one in EXTRAS:
        if one.needed(config) and find_spec(one.module) is None:
            message = f"needs the library {one.module}, which is not installed on this machine"
            remedy = (
                f"Install the extra {one.name} (.venv/bin/uv sync --inexact --extra {one.name}), or remove the field"
            )
            yield Problem(f"spec.{one.field}", None, message, remedy)
