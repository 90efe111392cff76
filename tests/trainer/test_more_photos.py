"""A new run from the model of an earlier one, as docs/continuing.md describes it."""

import json
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from tests.trainer.tiny_training import job_of, write_photos

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", ["full", "lora"])
def test_more_photos(method: str, tiny_training: Path, tmp_path: Path) -> None:
    training = {"method": method, "trainTextEncoder": False}
    first = job_of(tiny_training, f"first-photos-{method}", training=training)
    assert first.finish() == 0
    photos = tmp_path / "photos"
    write_photos(photos)
    Image.new("RGB", (90, 90), "yellow").save(photos / "new.png")

    source = str(first.output.model / "diffusers")
    inputs = {"model": {"source": source}, "training": training}
    second = job_of(tiny_training, f"more-photos-{method}", subject={"images": {"path": str(photos)}}, **inputs)
    assert second.finish() == 0, second.log.read_text()
    before, after = first.exported(), second.exported()
    assert not all(torch.equal(before[name], after[name]) for name in before)
    result = json.loads(second.output.result.read_text())
    assert (result["identifier"], result["model"]["source"]) == ("sks", source)
    assert not any("base model" in warning and "run in" in warning for warning in result["warnings"])

    other = job_of(tiny_training, f"other-subject-{method}", subject={"class": "cat"}, **inputs)
    assert other.finish() == 0, other.log.read_text()
    (warning,) = (one for one in json.loads(other.output.result.read_text())["warnings"] if "run in" in one)
    assert "the identifier 'sks' means a dog in the base model" in warning
    assert str(first.output.root) in warning

    if method == "lora":
        pipeline = StableDiffusionPipeline.from_pretrained(source)
        pipeline.load_lora_weights(second.output.model / "lora")
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
        fused = pipeline.unet.state_dict()
        for name, tensor in after.items():
            if name.startswith("denoiser."):
                torch.testing.assert_close(fused[name.removeprefix("denoiser.")], tensor)
