"""kustomize with docs/gitops/name-references.yaml, as `kubectl kustomize` runs it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_api.crd import RESOURCES, build_crd
from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.docs.written import blocks

CONFIGURATION = ROOT / "docs" / "gitops" / "name-references.yaml"
PAGE = Path("docs/gitops.md")
NAMES = "name", "Name", "Names", "runtime"
"""What the names of fields end with that may name another object."""
OTHER = {"spec/resources/gpuResourceName", "spec/schedulerName", "spec/subjects/name", "spec/env/name"}
"""Fields that name something else than an object."""
LISTS = {"subjects"}
"""Names of lists of sections."""
KINDS = {
    "ConfigMap": "v1",
    "DreamBoothJob": "dreambooth.io/v1alpha1",
    "DreamBoothRuntime": "dreambooth.io/v1alpha1",
    "LocalQueue": "kueue.x-k8s.io/v1beta2",
    "PersistentVolumeClaim": "v1",
    "PriorityClass": "scheduling.k8s.io/v1",
    "RuntimeClass": "node.k8s.io/v1",
    "Secret": "v1",
    "StorageClass": "storage.k8s.io/v1",
    "WorkloadPriorityClass": "kueue.x-k8s.io/v1beta2",
}
"""Kinds of objects that are named, with their API versions."""


def references() -> list[tuple[str, str, str]]:
    """Kind and path of each field in the configuration, and the kind of the object that it names."""
    given = yaml.safe_load(CONFIGURATION.read_text())["nameReference"]
    return [(field["kind"], field["path"], one["kind"]) for one in given for field in one["fieldSpecs"]]


def paths(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Paths of all fields of a schema."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}/{name}"
        yield from paths(child.get("items", child), f"{path}/{name}")


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_field_that_names_an_object_is_listed(resource: Any) -> None:
    schema = build_crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = {path for path in paths(schema, "spec") if path.endswith(NAMES)} - OTHER
    assert fields == {path for kind, path, _ in references() if kind == resource.kind}


def with_value(path: list[str], value: Any) -> Any:
    if not path:
        return value
    inner = with_value(path[1:], value)
    return {path[0]: [inner] if path[0] in LISTS else inner}


def at(item: Any, path: str) -> Any:
    for name in path.split("/"):
        item = item[name][0] if name in LISTS else item[name]
    return item


def named(kind: str, version: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def kustomized(
    cluster: Cluster, folder: Path, documents: list[dict[str, Any]], kustomization: Mapping[str, Any]
) -> Any:
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(documents))
    (folder / CONFIGURATION.name).write_text(CONFIGURATION.read_text())
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    return list(yaml.safe_load_all(cluster.kubectl("kustomize", folder)))


@pytest.mark.parametrize(("kind", "path", "target"), references())
def test_a_prefix_reaches_the_field(cluster: Cluster, tmp_path: Path, kind: str, path: str, target: str) -> None:
    value = ["one"] if path.endswith("Names") else "one"
    documents = [
        named(kind, "dreambooth.io/v1alpha1", "rex", **with_value(path.split("/"), value)),
        named(target, KINDS[target], "one"),
    ]
    built = kustomized(
        cluster,
        tmp_path,
        documents,
        {"namePrefix": "team-", "resources": ["objects.yaml"], "configurations": [CONFIGURATION.name]},
    )
    (changed,) = (item for item in built if item["metadata"]["name"].endswith("rex"))
    (other,) = (item for item in built if item["kind"] == target and item["metadata"]["name"].endswith("one"))
    name = other["metadata"]["name"]
    assert at(changed, path) == ([name] if isinstance(value, list) else name)
    assert target in ("PriorityClass", "StorageClass") or name == "team-one"


def test_the_example_of_the_page(cluster: Cluster, tmp_path: Path) -> None:
    (block,) = (one for one in blocks("yaml", PAGE) if "# kustomization.yaml" in one.text)
    job = yaml.safe_load((ROOT / "examples" / "dog" / "dreamboothjob.yaml").read_text().rpartition("\n---\n")[2])
    job["spec"]["subject"]["images"]["configMap"]["name"] = "photos"
    (tmp_path / "rex.yaml").write_text(yaml.safe_dump(job))
    (tmp_path / "photos").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(b"\xff\xd8" + bytes([number]))
    built = kustomized(cluster, tmp_path, [], yaml.safe_load(block.text))
    (photos,) = (item for item in built if item["kind"] == "ConfigMap")
    (changed,) = (item for item in built if item["kind"] == "DreamBoothJob")
    assert photos["metadata"]["name"].startswith("photos-2-") and set(photos["binaryData"]) == {
        "1.jpg",
        "2.jpg",
        "3.jpg",
    }
    assert changed["spec"]["subject"]["images"]["configMap"]["name"] == photos["metadata"]["name"]
