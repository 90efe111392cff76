"""Tests of dreambooth_api.crd: the committed CRDs match the models."""

from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.crd import RESOURCES, Resource, build_crd, dump

CRDS = Path(__file__).parents[2] / "crds"


def test_the_committed_crds_match_the_models() -> None:
    made = {f"{resource.plural}.yaml": dump(build_crd(resource)) for resource in RESOURCES}
    assert {file.name: file.read_text() for file in CRDS.iterdir()} == made, "run: make crds"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_field_has_a_description(resource: Resource) -> None:
    def nameless(schema: dict[str, Any], path: str) -> list[str]:
        found = [] if "description" in schema else [path]
        for name, child in schema.get("properties", {}).items():
            found += nameless(child, f"{path}.{name}")
        return found

    schema = build_crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = set(schema["properties"]) - {"apiVersion", "kind", "metadata"}
    assert [path for part in parts for path in nameless(schema["properties"][part], part)] == []


def test_nothing_that_a_tenant_writes_is_without_a_bound() -> None:
    """A list, map or text without one could be as large as the API server takes, in every object that is made of it."""

    def boundless(schema: dict[str, Any], path: str) -> list[str]:
        found = []
        bounds = {"array": ["maxItems"], "string": ["maxLength", "enum", "pattern"]}.get(schema.get("type", ""), [])
        if "additionalProperties" in schema:
            bounds = ["maxProperties"]
            found += boundless(schema["additionalProperties"], f"{path}{{}}")
        if bounds and not any(bound in schema for bound in bounds):
            found.append(path)
        for name, child in schema.get("properties", {}).items():
            found += boundless(child, f"{path}.{name}")
        return found + (boundless(schema["items"], f"{path}[]") if "items" in schema else [])

    schema = build_crd(RESOURCES[0])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert boundless(schema["properties"]["spec"], "spec") == []
