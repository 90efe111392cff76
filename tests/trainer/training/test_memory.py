"""The memory of a training: bytes of weights, and of the tensors that autograd saves for the backward pass."""

import gc
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dreambooth_trainer import models
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.phases import cache, prepare, prior, train
from dreambooth_trainer.pipeline import run_phases
from dreambooth_trainer.training import engine
from dreambooth_trainer.training.engine import Engine, StepOutcome
from tests.trainer.tiny_training import job_of, write_model, write_photos

LORA = {"method": "lora", "mixedPrecision": "bf16", "trainTextEncoder": False, "batchSize": 1, "steps": 1}


class Watched(Engine):
    """Counts bytes in its last step."""

    weights: dict[str, int]
    bf16: int
    saved: int

    def step(self, *arguments: Any) -> StepOutcome:
        """A step whose memory is recorded."""
        kind, model = type(self), self._module.model
        modules = {"denoiser": model.denoiser, **model.text_encoders, "vae": model.autoencoder.module}  # type: ignore[attr-defined]
        kind.weights = {name: stored(module.parameters()) for name, module in modules.items()}
        kind.bf16 = sum(2 * parameter.numel() for module in modules.values() for parameter in module.parameters())
        held = {parameter.untyped_storage().data_ptr() for parameter in model.denoiser.parameters()}
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in held:
                kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outcome = super().step(*arguments)
        kind.saved = stored(kept)
        return outcome


def stored(tensors: Iterable[Tensor]) -> int:
    """Bytes in memory; tensors on the meta device have none."""
    there = [tensor for tensor in tensors if tensor.device.type != "meta"]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in there}.values())


def watch(root: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], **samples: int) -> type[Watched]:
    """Trains the embedded model."""
    write_photos(root / "photos")
    job = job_of(root, "watched", model={"source": "embedded://emoji"}, training=training, samples=samples)
    run = job.run()
    prepared = prepare.prepare(run)
    datasets = cache.make_datasets(run, prepared.photos, prior.generate_class_images(run))
    monkeypatch.setattr(engine, "Engine", Watched)
    train.train(run, datasets)
    return Watched


@pytest.mark.slow
def test_one_model_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first phase to the last: the base model in two number formats, and the exported model."""
    write_model(tmp_path / "model")
    write_photos(tmp_path / "photos")
    evaluation = {
        "enabled": True,
        "perPrompt": 2,
        "contexts": ["at sea", "at night"],
        "otherClasses": ["cat", "car"],
    }
    job = job_of(tmp_path, "held", training={"mixedPrecision": "bf16", "steps": 1}, evaluation=evaluation)
    loaded: list[weakref.ref[ModelFamily]] = []
    held: list[int] = []
    load = models.load

    def counting(*arguments: Any, **options: Any) -> ModelFamily:
        gc.collect()
        held.append(sum(model() is not None for model in loaded))
        model = load(*arguments, **options)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(models, "load", counting)
    run_phases(job.run())
    assert job.output.complete.exists()
    assert len(held) >= 6 and set(held) == {0}


def test_a_step_of_adapters_needs_little_more_than_the_rounded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = watch(tmp_path, monkeypatch, LORA)
    assert sum(held.weights.values()) + held.saved <= 1.3 * held.bf16


@pytest.mark.parametrize(
    ("training", "samples", "parts"),
    [
        ({}, {}, {"denoiser"}),
        ({"trainTextEncoder": True}, {}, {"denoiser", "text_encoder"}),
        ({}, {"everySteps": 1}, {"denoiser", "text_encoder", "vae"}),
    ],
)
def test_parts_that_no_step_uses_are_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], samples: dict[str, int], parts: set[str]
) -> None:
    held = watch(tmp_path, monkeypatch, LORA | training, **samples)
    assert {name for name, count in held.weights.items() if count} == parts
