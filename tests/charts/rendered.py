"""The chart, the test cases, and access to rendered objects."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.layout import ROOT

CHART = ROOT / "charts" / "dreambooth-operator"
CASES = sorted(folder for folder in (Path(__file__).parent / "cases").iterdir() if folder.is_dir())
"""Folders with values.yaml and expected.yaml."""
RELEASE, NAMESPACE = "dreambooth", "dreambooth-system"

Objects = Sequence[Mapping[str, Any]]


class _Loader(yaml.SafeLoader):
    """Parses numbers as Kubernetes does: PyYAML would parse `1e-08`, as written by Helm, as a string."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?\d+(\.\d+)?e[-+]?\d+$"), list("-0123456789"))


def objects_in(text: str) -> Objects:
    """The objects of a rendered chart."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]


def values_of(case: Path) -> Mapping[str, Any]:
    """The values of a case."""
    return dict(yaml.safe_load((case / "values.yaml").read_text()) or {})


def of_kind(objects: Objects, kind: str) -> Objects:
    """The objects of a kind."""
    return [item for item in objects if item["kind"] == kind]


def pods_of(objects: Objects) -> Mapping[str, Mapping[str, Any]]:
    """All pod templates, by the name of the pod or Deployment."""
    pods = {item["metadata"]["name"]: dict(item) for item in of_kind(objects, "Pod")}
    for item in of_kind(objects, "Deployment"):
        pods[item["metadata"]["name"]] = dict(item["spec"]["template"])
    return pods
