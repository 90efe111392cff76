"""The annotations of the chart for Artifact Hub match the project."""

from typing import Any

import pytest
import yaml

from dreambooth_api.cluster_rules import validate
from dreambooth_api.runtime_rules import validate_runtime
from tests.charts.rendered import CHART

CHART_FILE = yaml.safe_load((CHART / "Chart.yaml").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def annotation(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load(CHART_FILE["annotations"][f"artifacthub.io/{name}"]))


def test_each_kind_is_listed_and_has_an_example() -> None:
    crds = [yaml.safe_load(file.read_text()) for file in (CHART / "files").glob("*.yaml")]
    installed = {(crd["metadata"]["name"], crd["spec"]["names"]["kind"]) for crd in crds}
    assert {(one["name"], one["kind"]) for one in annotation("crds")} == installed
    assert {one["kind"] for one in annotation("crdsExamples")} == {kind for _, kind in installed}


@pytest.mark.parametrize("example", annotation("crdsExamples"), ids=lambda example: example["kind"])
def test_the_examples_are_valid(example: dict[str, Any]) -> None:
    checks = {"DreamBoothJob": validate, "DreamBoothScene": validate, "DreamBoothRuntime": validate_runtime}
    check = checks[example["kind"]]
    _, problems = check(example)
    assert problems == []


def test_the_images_are_the_default_ones() -> None:
    default = [f"{VALUES[name]['repository']}:{CHART_FILE['appVersion']}" for name in ("image", "trainerImage")]
    assert [one["image"] for one in annotation("images")] == default
