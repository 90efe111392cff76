"""The OpenAPI schemas of each minor release of Kubernetes that the chart supports, from its Go module, with a cache.

Unknown fields are errors here, because the API server would drop them silently.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from tests.cluster import binaries
from tests.cluster.layout import CACHE
from tests.cluster.processes import NotReady

MODULE = "k8s.io/kubernetes"
RELEASES = ("v1.31.14", "v1.32.13", "v1.33.13", "v1.34.4", "v1.35.4", "v1.36.3", "v1.37.2")
DOCUMENT = Path("api") / "openapi-spec" / "swagger.json"
QUANTITIES = {"io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
"""Strings as in the document, and numbers as the API server accepts them."""


def faults(release: str, item: Mapping[str, Any]) -> list[str]:
    """The errors of an object according to the schema of a release."""
    definitions, kinds = _schemas(release)
    name = kinds.get((item["apiVersion"], item["kind"]))
    if name is None:
        return [f"there is no {item['kind']} of {item['apiVersion']}"]
    schema = {"definitions": definitions, "allOf": [{"$ref": f"#/definitions/{name}"}]}
    return [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(item)]


@cache
def _schemas(release: str) -> tuple[dict[str, Any], dict[tuple[str, str], str]]:
    """The definitions, and their names by API version and kind."""
    definitions = json.loads(_document(release).read_text())["definitions"]
    kinds = {}
    for name, definition in definitions.items():
        if name in QUANTITIES:
            definition["type"] = ["string", "number"]
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            kinds["/".join(filter(None, (kind["group"], kind["version"]))), kind["kind"]] = name
    return definitions, kinds


def _document(release: str) -> Path:
    """The OpenAPI document of a release; six seconds the first time.

    Raises:
        NotReady: it can't be had.
    """
    target = CACHE / "schemas" / f"{release}.json"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # The module has 100 MB, so it is removed from the module cache.
        environment = {**os.environ, "GOMODCACHE": folder, "GOFLAGS": "-modcacherw"}
        command = [binaries.toolchain(), "mod", "download", "-json", f"{MODULE}@{release}"]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if ended.returncode:
            raise NotReady(f"{MODULE} {release} can't be downloaded: {ended.stdout}{ended.stderr}")
        staging = target.with_suffix(f".{os.getpid()}")
        shutil.copy(Path(json.loads(ended.stdout)["Dir"]) / DOCUMENT, staging)
        staging.rename(target)
    return target
