"""The captured step without a GPU: what a graph would record is called again instead, on the one set of random numbers
that it reads."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dreambooth_trainer.training.captured import WARM_UP_STEPS, CapturedStep
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import divide
from dreambooth_trainer.training.micro_batches import MicroBatch, micro_batches
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.randomness import StepRandomness
from tests.trainer.tiny_training import Job, job_of

STEPS = WARM_UP_STEPS + 3
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"minSnrGamma": 5},
    "lora": {"method": "lora", "lora": {"rank": 4}},
    "accumulated": {"batchSize": 2, "gradientAccumulationSteps": 2},
    "bf16": {"mixedPrecision": "bf16"},
}


class CalledAgain(CapturedStep):
    """Stands for a graph: replays by calling the recorded function."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._captures = True

    def _take_aside(self, batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
        return self._take(batches)

    def _record(self) -> "CalledAgain":
        self._outcome = (torch.full((2,), torch.nan), torch.tensor(torch.nan))
        return self

    def replay(self) -> None:
        """Takes the step, and leaves its outcome where the graph would."""
        for place, value in zip(self._outcome, self._take(self._batches), strict=True):
            place.copy_(value)


@pytest.fixture(scope="module")
def prepared(tiny_training: Path) -> Job:
    job = job_of(tiny_training, "captured")
    assert job.finish() == 0
    return job


def train(job: Job, kind: type[CapturedStep], dataset: Dataset) -> tuple[list[Tensor], list[Tensor]]:
    """Outcomes of some steps, and the weights after them."""
    run = job.run()
    training = run.config.training
    model = run.hand_over_model(exact=True)
    model.keep_trained_parts(text_encoders=training.train_text_encoder)
    module = DreamBoothModule(model, training, 1.0)
    # As a graph reads it: a tensor of float32 rounds the rate.
    groups = [{**group, "lr": torch.tensor(group["lr"])} for group in module.parameter_groups()]
    optimizer = torch.optim.AdamW(groups, fused=True)
    division = divide(training, rank=0, size=1)
    step = kind(module, optimizer, division, run.distributed.precision(training.mixed_precision))
    outcomes = [
        torch.cat([part.flatten() for part in step(micro_batches([dataset], 0, number, division))])
        for number in range(STEPS)
    ]
    return outcomes, [parameter.detach() for _, parameter in module.learning()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_replays_take_the_very_steps_of_the_plain_call(prepared: Job, variant: str) -> None:
    training = {**prepared.config["training"], **VARIANTS[variant]}
    job = replace(prepared, config={**prepared.config, "training": training})
    dataset = job.dataset()
    plain, again = (train(job, kind, dataset) for kind in (CapturedStep, CalledAgain))
    for found, wanted in zip([*again[0], *again[1]], [*plain[0], *plain[1]], strict=True):
        assert torch.equal(found, wanted)
    assert len({tuple(outcome.tolist()) for outcome in again[0]}) == STEPS


def test_randomness_is_tensors_alone() -> None:
    """Each is copied into the place that the graph reads."""
    assert {field.type for field in fields(StepRandomness)} == {Tensor}
