"""Planned memory of the training against counted memory, on a CPU."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from dreambooth_api.training import Model, TrainConfig
from dreambooth_trainer.models.loading import load_model
from dreambooth_trainer.models.quantization import held_weights
from dreambooth_trainer.phases import cache, prepare, prior, train
from dreambooth_trainer.planning.allocations import Allocations, bytes_of, tensors_in
from dreambooth_trainer.planning.inputs import Counts, Inputs, prompt_of
from dreambooth_trainer.planning.memory import PhaseMemory
from dreambooth_trainer.planning.phases import Models, Target
from dreambooth_trainer.planning.training import plan_training
from dreambooth_trainer.training import engine
from dreambooth_trainer.training.captured import CapturedStep
from dreambooth_trainer.training.division import divide
from dreambooth_trainer.training.engine import Engine, StepOutcome
from dreambooth_trainer.training.micro_batches import MicroBatch, micro_batches
from dreambooth_trainer.training.module import DreamBoothModule
from tests.trainer.tiny_flow import FlowFamily
from tests.trainer.tiny_models import Layout
from tests.trainer.tiny_training import job_of, settings, write_photos

CLOSE = 0.15
"""Relative difference between plan and measurement that is allowed."""


class Counted(Engine):
    """Counts the bytes of its tensors, of all steps together."""

    peak: int
    held: int

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Counts from the beginning: DeepSpeed moves the weights of higher stages."""
        self._allocations = Allocations()
        with self._allocations:
            super().__init__(*arguments, **settings)
        self._held = 0
        if self.stage == 0:
            averages = self._average.tensors if self._average else []
            weights = (weights for _, weights in held_weights(self._module.denoiser))
            self._held = bytes_of([*weights, *averages])
            self._allocations = Allocations()
        self._allocations.peak = self._allocations.current

    def step(self, step: int, batches: Sequence[MicroBatch]) -> StepOutcome:
        """A step that is counted."""
        with self._allocations:
            outcome = super().step(step, batches)
        type(self).peak = self._held + self._allocations.peak + bytes_of(tensors_in(batches[0].dataset))
        return outcome


def train_counted(root: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], stage: int) -> TrainConfig:
    """Trains the embedded model two steps with `Counted`."""
    write_photos(root / "photos")
    job = job_of(
        root,
        "counted",
        model={"source": "embedded://emoji"},
        training={"trainTextEncoder": False, "steps": 2, "batchSize": 1} | training,
        deepspeed={"zeroStage": stage},
    )
    run = job.run()
    prepared = prepare.prepare(run)
    datasets = cache.make_datasets(run, prepared.photos, prior.generate_class_images(run))
    monkeypatch.setattr(engine, "Engine", Counted)
    train.train(run, datasets)
    return run.config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("training", "stage"),
    [
        ({"mixedPrecision": "fp32"}, 0),
        ({"mixedPrecision": "bf16"}, 0),
        ({"mixedPrecision": "fp32", "batchSize": 8, "gradientCheckpointing": True}, 0),
        ({"mixedPrecision": "bf16", "ema": {"enabled": True}}, 0),
        ({"mixedPrecision": "bf16", "method": "lora", "quantization": "nf4"}, 0),
        ({"mixedPrecision": "bf16"}, 2),
        ({"mixedPrecision": "bf16"}, 3),
        ({"mixedPrecision": "fp32"}, 2),
    ],
    ids=str,
)
def test_the_embedded_model_needs_what_was_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], stage: int
) -> None:
    config = train_counted(tmp_path, monkeypatch, training, stage)
    target = Target("cpu")
    planned = plan_training(config, target, Models(config, target))
    assert planned.zero_stage == stage
    assert planned.peak == pytest.approx(Counted.peak, rel=CLOSE)


QUICK: list[dict[str, Any]] = [
    {"method": "lora", "mixedPrecision": "bf16"},
    {"method": "lora", "mixedPrecision": "bf16", "quantization": "nf4"},
]
SLOW: list[dict[str, Any]] = [
    {"method": "lora", "mixedPrecision": "fp32", "quantization": "int8"},
    {"method": "full", "mixedPrecision": "fp32"},
    {"method": "full", "mixedPrecision": "bf16", "gradientCheckpointing": True},
]


def cases() -> Iterator[Any]:
    """Families and trainings: each family with several trainings, each training with several families."""
    for number, family in enumerate(get_args(FlowFamily)):
        yield from (pytest.param(family, training) for training in QUICK)
        yield pytest.param(family, SLOW[number % len(SLOW)], marks=pytest.mark.slow)
    for number, layout in enumerate(get_args(Layout)):
        for training in ([*QUICK, *SLOW][number], SLOW[number]):
            yield pytest.param(layout, training, marks=pytest.mark.slow)


def planned_for(folder: Path, training: dict[str, Any], device_type: Any = "cpu") -> PhaseMemory:
    """The plan of a training of a small model."""
    config = config_of(folder, training)
    target = Target(device_type)
    return plan_training(config, target, Models(config, target))


def config_of(folder: Path, training: dict[str, Any]) -> TrainConfig:
    sections = settings(
        folder, folder, training={"trainTextEncoder": False, "resolution": 64, "batchSize": 1, **training}
    )
    sections["subject"]["images"] = {"configMap": {"name": "photos"}}
    return TrainConfig.model_validate(sections)


def counted_for(folder: Path, training: dict[str, Any]) -> int:
    """Most bytes of the tensors of a training of a small model."""
    config = config_of(folder, training)
    precision = torch.bfloat16 if config.training.mixed_precision == "bf16" else torch.float32
    exact = torch.float32 if config.training.method == "full" else precision
    model = load_model(Model(source=str(folder)), torch.device("cpu"), precision, "", weights=exact)
    model.quantize(config.training.quantization)
    module = DreamBoothModule(model, config.training, 1)
    module.round_frozen_weights(precision)
    inputs = Inputs.of(model, 64, prompt_of(model, config))
    dataset, division = inputs.dataset(Counts.of(config)), divide(config.training, rank=0, size=1)
    optimizer = torch.optim.AdamW(module.parameter_groups(), fused=True)
    step = CapturedStep(module, optimizer, division, precision)
    batches = micro_batches([dataset], 0, 0, division)
    with Allocations() as counted:
        for _ in range(2):
            step(batches)
    random = (tensor for batch in batches for tensor in tensors_in(batch.randomness))
    held = [*(weights for _, weights in held_weights(module.denoiser)), *tensors_in(dataset), *random]
    return counted.peak + bytes_of(held)


@pytest.mark.parametrize(("family", "training"), cases(), indirect=["family"], ids=str)
def test_each_family_needs_what_was_planned(family: Path, training: dict[str, Any]) -> None:
    assert planned_for(family, training).peak == pytest.approx(counted_for(family, training), rel=CLOSE)
