"""Reads the DreamBoothRuntimes of a manifest, and reports everything that is wrong with them; used by `validate`."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.failures import Problem
from dreambooth_api.runtime import RUNTIME_KIND, DreamBoothRuntime
from dreambooth_api.runtime_rules import validate_runtime
from dreambooth_api.validation import check_fields
from dreambooth_api.workload import RuntimeName
from dreambooth_cli.manifest import of_kind


class _Metadata(BaseModel):
    """The fields of Kubernetes' ObjectMeta that are read; the others are ignored."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    name: RuntimeName
    """Name of the DreamBoothRuntime: lower-case letters, digits, hyphens and dots."""


class _RuntimeManifest(DreamBoothRuntime):
    """A DreamBoothRuntime as it stands in a file."""

    api_version: Annotated[Literal["dreambooth.io/v1alpha1"], Field(alias="apiVersion")]
    """Version of this schema."""
    kind: Literal["DreamBoothRuntime"]
    """Name of this schema."""
    metadata: _Metadata
    """Its name."""


def check_runtimes(documents: Sequence[Any]) -> tuple[list[str], list[Problem]]:
    """Validates the DreamBoothRuntimes among the documents of a file.

    Returns:
        Their names, and the problems. If there are several documents, the fields of problems begin with the name.
    """
    found = of_kind(documents, RUNTIME_KIND)
    names = [_name(document) for document in found]
    problems = [
        dataclasses.replace(problem, field=f"{name} {problem.field}" if len(documents) > 1 else problem.field)
        for name, document in zip(names, found, strict=True)
        for problem in _problems(document)
    ]
    return names, problems


def _problems(document: dict[Any, Any]) -> list[Problem]:
    manifest, problems = check_fields(document, _RuntimeManifest, "")
    return problems if manifest is None else validate_runtime(document)[1]


def _name(document: dict[Any, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, dict) else "?"
