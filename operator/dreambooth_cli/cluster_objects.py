"""Reads the DreamBoothRuntimes and DreamBoothScenes of a manifest, which only a cluster uses, and reports everything that is
wrong with them; used by `validate`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreambooth_api.cluster_rules import validate
from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.failures import Problem
from dreambooth_api.runtime import RUNTIME_KIND, DreamBoothRuntime
from dreambooth_api.runtime_rules import validate_runtime
from dreambooth_api.validation import check_fields
from dreambooth_api.workload import RuntimeName
from dreambooth_client.manifests import of_kind


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


def check_cluster_objects(documents: Sequence[Any]) -> tuple[list[str], list[Problem]]:
    """Validates the DreamBoothRuntimes and DreamBoothScenes among the documents of a file.

    Returns:
        Their kinds and names, and the problems. If there are several documents, the fields of problems begin with the name.
    """
    found = [(document, check) for kind, check in _CHECKS.items() for document in of_kind(documents, kind)]
    problems = [
        dataclasses.replace(
            problem, field=f"{_name(document)} {problem.field}" if len(documents) > 1 else problem.field
        )
        for document, check in found
        for problem in check(document)
    ]
    return [f"{document['kind']} {_name(document)}" for document, _ in found], problems


def _runtime_problems(document: dict[Any, Any]) -> list[Problem]:
    manifest, problems = check_fields(document, _RuntimeManifest, "")
    return problems if manifest is None else validate_runtime(document)[1]


def _scene_problems(document: dict[Any, Any]) -> list[Problem]:
    return validate(document)[1]


_CHECKS: Mapping[str, Callable[[dict[Any, Any]], list[Problem]]] = {
    RUNTIME_KIND: _runtime_problems,
    SCENE_KIND: _scene_problems,
}


def _name(document: dict[Any, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, dict) else "?"
