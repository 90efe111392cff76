"""Runs on a pretended device, to which the parts of a model are copied for each phase as to a GPU: what is there while the
denoiser computes, and that the pictures don't change."""

import gc
import weakref
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from dreambooth_trainer.models import latent, placement
from dreambooth_trainer.phases import sample
from dreambooth_trainer.pipeline import run_phases
from dreambooth_trainer.process.storage import manifest_of
from tests.trainer.tiny_flow import build_flow
from tests.trainer.tiny_training import Job, job_of, write_photos


class PretendedDevice:
    """Counts the copies of denoisers and of text encoders that exist."""

    def __init__(self) -> None:
        self._copies: list[weakref.ref[nn.Module]] = []
        self.denoised = 0
        """Passes of copies of the denoiser."""
        self.encoded = 0
        """Copies of text encoders that were made."""

    def on_device(self, part: Any, device: torch.device, precision: torch.dtype | None = None) -> Any:
        """A copy of a part, on which the device was asked for, or the part itself if it is a copy."""
        if any(part is copy() for copy in self._copies):
            return part
        copy = deepcopy(placement.on_device(part, device, precision))
        if isinstance(part, ModelMixin):
            copy.register_forward_pre_hook(self._denoise)
        else:
            copy.register_forward_pre_hook(self._encode)
            self.encoded += 1
        self._copies.append(weakref.ref(copy))
        return copy

    def _kinds(self) -> list[bool]:
        gc.collect()
        return [isinstance(copy(), ModelMixin) for copy in self._copies if copy() is not None]

    def _denoise(self, *_: object) -> None:
        assert self._kinds() == [True]
        self.denoised += 1

    def _encode(self, *_: object) -> None:
        assert not any(self._kinds())


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> PretendedDevice:
    device = PretendedDevice()
    monkeypatch.setattr(latent, "on_device", device.on_device)
    return device


def finished(root: Path, name: str, **sections: Any) -> Job:
    """A run of all phases in this process, with class images of its own."""
    job = job_of(root, name, **sections)
    job = Job(job.folder, job.config, root / f"{name}-cache")
    run_phases(job.run())
    return job


def pictures(job: Job) -> dict[str, str]:
    """Digests of all pictures and latents that a run has generated."""
    found = {**manifest_of(job.output.root), **{f"cache/{name}": sha for name, sha in manifest_of(job.cache).items()}}
    return {name: digest for name, digest in found.items() if name.endswith((".png", ".safetensors"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [
        {"trainTextEncoder": False, "method": "lora", "mixedPrecision": "bf16"},
        {"trainTextEncoder": True, "method": "lora", "stopping": "best"},
        {
            "trainTextEncoder": True,
            "method": "lora",
            "stopping": "best",
            "quantization": "nf4",
            "mixedPrecision": "bf16",
        },
        {"trainTextEncoder": True},
    ],
    ids=str,
)
def test_a_run_generates_the_same_pictures_without_text_encoders(
    tiny_training: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any]
) -> None:
    """From the class images to the evaluation, also between steps."""
    evaluation = {"enabled": True, "perPrompt": 2, "contexts": ["at sea", "at night"], "otherClasses": ["cat", "car"]}
    sections = {
        "model": {"source": str(tiny_training / "model")},
        "subject": {"images": {"path": str(tiny_training / "photos")}},
        "training": {**training, "steps": 4},
        "samples": {"guidanceScale": 3, "everySteps": 2},
        "evaluation": evaluation,
    }
    expected = pictures(finished(tmp_path, "usual", **sections))
    device = PretendedDevice()
    monkeypatch.setattr(latent, "on_device", device.on_device)
    assert pictures(finished(tmp_path, "placed", **sections)) == expected
    assert device.denoised > 0


def test_each_prompt_of_a_phase_is_encoded_once(tmp_path: Path, device: PretendedDevice) -> None:
    """With a language model as text encoder."""
    build_flow("flux2-klein").save_pretrained(tmp_path / "model")
    write_photos(tmp_path / "photos")
    prompts = [f"a {{identifier}} {{class}} {number}" for number in range(9)]
    sections = {
        "training": {"trainTextEncoder": False, "resolution": 64},
        "samples": {"prompts": prompts, "perPrompt": 2},
    }
    run = job_of(tmp_path, "klein", **sections).run()
    sampled = sample.sample(run, lambda: run.hand_over_model(exact=False))
    assert len(sampled.prompts) == 9
    # Once for each model.
    assert device.encoded == 2
    assert device.denoised == 2 * 2 * 2
