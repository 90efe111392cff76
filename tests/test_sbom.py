"""The SBOMs of images and chart match their contents."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "dreambooth-operator"
EXTRAS = {"operator": ["operator"], "trainer": ["trainer", "tensorboard", "wandb", "s3"]}
"""The extras of the libraries in an image."""


def exported(image: str, *more: str) -> str:
    """The SBOM of an image's libraries, as uv writes it in the Dockerfile."""
    uv = Path(sys.executable).with_name("uv")
    options = ["--quiet", "--locked", "--offline", "--no-default-groups", "--no-emit-project"]
    extras = [word for extra in EXTRAS[image] for word in ("--extra", extra)]
    return subprocess.run(
        [uv, "export", *options, *extras, *more], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("image", ["operator", "trainer"])
def test_the_sbom_of_an_image_has_each_library_with_its_version(image: str) -> None:
    bill: dict[str, Any] = json.loads(exported(image, "--format", "cyclonedx1.5"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    installed = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", exported(image), flags=re.MULTILINE)
    assert len(installed) > 10
    assert {(one["name"], one["version"]) for one in bill["components"]} >= set(installed)


def test_the_image_of_the_trainer_has_all_extras_of_the_trainer() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"--extra ([a-z0-9]+)", dockerfile) == EXTRAS["trainer"][1:]


def test_each_image_has_its_sbom() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for image in ("operator", "trainer"):
        stage = dockerfile.partition(f"FROM base AS {image}\n")[2].partition("\nFROM ")[0]
        assert f"COPY --from=requirements /build/{image}.cdx.json /usr/share/doc/dreambooth/sbom.cdx.json" in stage


def test_the_sbom_of_the_chart_has_the_chart_and_its_images() -> None:
    chart, values = (yaml.safe_load((CHART / name).read_text()) for name in ("Chart.yaml", "values.yaml"))
    bill = json.loads((CHART / "sbom.cdx.json").read_text())
    described = bill["metadata"]["component"]
    assert (described["name"], described["version"]) == (chart["name"], chart["version"])
    images = {(values[key]["repository"].rpartition("/")[2], chart["appVersion"]) for key in ("image", "trainerImage")}
    assert {(one["name"], one["version"]) for one in bill["components"]} == images
