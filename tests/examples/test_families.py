"""The manifests of the model families are valid, and train small models of these families with the same settings."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import diffusers
import pytest
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreambooth_api.cluster_rules import validate
from dreambooth_api.validation import check_settings
from dreambooth_client.manifests import documents_of
from tests.trainer.tiny_flow import FlowFamily, build_flow
from tests.trainer.tiny_models import build
from tests.trainer.tiny_training import Job, write_photos

FAMILIES = Path(__file__).parents[2] / "examples" / "families"
SMALL_MODELS: dict[str, Callable[[], DiffusionPipeline]] = {
    "stable-diffusion": partial(build, "1.x"),
    "sdxl": partial(build, "xl"),
    **{family: partial(build_flow, family) for family in get_args(FlowFamily)},
}
SMALL = {
    "prior": {"images": 2, "sampler": {"steps": 2}},
    "training": {"steps": 2, "resolution": 64, "mixedPrecision": "fp32"},
    "samples": {"prompts": ["a {identifier} {class}"], "perPrompt": 1, "steps": 2},
}


def manifest(family: str) -> dict[str, Any]:
    documents = documents_of(FAMILIES / f"{family}.yaml")
    assert isinstance(documents, list)
    (document,) = documents
    return dict(document)


def test_every_family_has_a_manifest() -> None:
    assert {file.stem for file in FAMILIES.iterdir()} == set(SMALL_MODELS)


@pytest.mark.parametrize("family", SMALL_MODELS)
def test_the_manifest_is_valid(family: str) -> None:
    _, problems = validate(manifest(family))
    assert problems == []


def small(family: str, folder: Path) -> dict[str, Any]:
    """The manifest's settings for the trainer, for a small model and few steps."""
    spec = manifest(family)["spec"]
    # The trainer does not get the sections of the cluster.
    config = {name: spec[name] for name in spec.keys() - {"resources", "volumes"}}
    config |= {name: {**spec.get(name, {}), **section} for name, section in SMALL.items()}
    config["evaluation"] = {"enabled": False}
    config["model"] = {"source": str(folder / "model")}
    config["subject"] = {**spec["subject"], "images": {"path": str(folder / "photos")}}
    return config


@pytest.mark.parametrize("family", SMALL_MODELS)
def test_the_settings_for_a_small_model_are_valid(family: str, tmp_path: Path) -> None:
    _, problems = check_settings(small(family, tmp_path))
    assert problems == []


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL_MODELS)
def test_the_manifest_trains_a_small_model(family: str, tmp_path: Path) -> None:
    SMALL_MODELS[family]().save_pretrained(tmp_path / "model")
    write_photos(tmp_path / "photos")
    config = small(family, tmp_path)
    job = Job(tmp_path / "job", config, tmp_path / "cache")
    assert job.finish() == 0, job.log.read_text()
    exported = job.output.model / "diffusers"
    name = json.loads((exported / "model_index.json").read_text())["_class_name"]
    pipeline = getattr(diffusers, name).from_pretrained(exported)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(prompt="a dog", num_inference_steps=1, height=64, width=64).images[0].size == (64, 64)
    if config["training"]["method"] == "lora":
        comfyui = {"comfyui.safetensors"} & {
            f"{name}.safetensors" for name in config.get("output", {}).get("formats", [])
        }
        assert {"pytorch_lora_weights.safetensors"} | comfyui == {
            file.name for file in (job.output.model / "lora").iterdir()
        }
