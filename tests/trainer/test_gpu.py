"""Training on a GPU: every number format, stage and offloading moves the weights as a plain loop in float32 does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache as remembered
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dreambooth_api.failures import Interrupted
from dreambooth_api.progress import Event, Snapshot
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import cache, prepare, prior, train
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import manifest_of
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.module import DreamBoothModule
from tests.trainer.tiny_training import distance, plain_loop, prepared_photos, settings

pytestmark = pytest.mark.gpu

LORA = {"method": "lora", "lora": {"rank": 4}}
INT8 = {**LORA, "quantization": "int8"}
NF4 = {**LORA, "quantization": "nf4"}
EMA = {"ema": {"enabled": True, "decay": 0.5}}
CHECKPOINTING = {"gradientCheckpointing": True}
OPTIMIZER = {"offload": {"optimizer": True}}
ALL = {"offload": {"optimizer": True, "parameters": True}}

TOLERANCES = {"fp32": 1e-3, "bf16": 0.35, "fp16": 0.15}
"""Distance between the weights' moves and those in float32, relative to the latter; 1 where nothing moves. AdamW
divides gradients by their size: those that are small compared with the rounding move a weight too by a learning rate, in
whichever direction. On a CPU bf16 gives 0.14 (full) and 0.23 (lora), float32 3e-6; fp16 has three bits more than
bf16."""

STEPS = 24
STOP = 10
"""Step after which a run is stopped; losses are read, and stops seen, every ten steps."""


@dataclass(frozen=True)
class Row:
    """One way to train."""

    precision: str
    stage: int | str
    training: Mapping[str, Any] = field(default_factory=dict)
    deepspeed: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        stored = self.training.get("quantization", "lora")
        words = [self.precision, f"stage {self.stage}", *self.training, stored, *self.deepspeed.get("offload", ())]
        return ", ".join(word for word in words if word not in ("lora", "quantization"))


ROWS = [
    Row("fp32", 0),
    Row("fp32", 0, LORA),
    Row("fp32", 1, EMA, OPTIMIZER),
    Row("fp32", 3, EMA),
    Row("bf16", 0, CHECKPOINTING),
    Row("bf16", 0, {**LORA, **EMA}),
    Row("bf16", 1),
    Row("bf16", 2, EMA, OPTIMIZER),
    Row("bf16", 2, LORA),
    Row("fp32", 0, INT8),
    Row("bf16", 0, INT8),
    Row("bf16", 0, {**NF4, **CHECKPOINTING}),
    Row("bf16", 2, NF4),
    Row("bf16", 3, CHECKPOINTING),
    Row("bf16", 3, {}, ALL),
    Row("bf16", 3, {**LORA, **EMA}, ALL),
    Row("fp16", "auto"),
    Row("fp16", "auto", {**LORA, **CHECKPOINTING}),
    Row("fp16", 2, EMA, OPTIMIZER),
]

RESUMED = [
    (Row("fp32", 0), 1e-5),
    # cuDNN's attention has a backward pass that sums in no fixed order: 1.5e-4 on an H200.
    (Row("bf16", 0), 1e-3),
    (Row("bf16", 2, EMA, OPTIMIZER), 0),
    (Row("fp16", "auto", LORA), 0),
    (Row("bf16", 0, NF4), 1e-3),
]
"""Rows, and the largest distance between the weights of a resumed and of an uninterrupted run."""


class Bench:
    """Runs of the tiny model in this process, which share its class images."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.distributed = Distributed()
        self.distributed.connect()
        self.plain = remembered(self._plain)

    def run(self, name: str, row: Row, steps: int, observers: list[Callable[[Event, Snapshot], None]]) -> Run:
        """A run after its first phase."""
        training = {"steps": steps, "batchSize": 4, **row.training, "mixedPrecision": row.precision}
        deepspeed = {"zeroStage": row.stage, **row.deepspeed}
        sections = settings(self._root / "model", self._root / "photos", training=training, deepspeed=deepspeed)
        config = TrainConfig.model_validate({**sections, "checkpoints": {"intervalSeconds": 600}})
        folder = RunFolder(self._root / name)
        run = Run(config, folder, self._root / "cache", self.distributed, Progress(observers), identifiers=["sks"])
        if not folder.photos.exists():
            prepare.prepare(run)
        return run

    def train(
        self, name: str, row: Row, steps: int = 4, observers: list[Callable[[Event, Snapshot], None]] | None = None
    ) -> tuple[Run, dict[str, Tensor]]:
        """Trains in a folder from its newest checkpoint, and returns the weights."""
        run = self.run(name, row, steps, observers or [])
        train.train(run, _cached(run))
        return run, load_file(run.folder.weights / "weights.safetensors")

    def _plain(self, lora: bool, averaged: bool, quantization: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights before and after a plain loop in float32."""
        row = Row("fp32", 0, ({**LORA, "quantization": quantization} if lora else {}) | (EMA if averaged else {}))
        run = self.run(f"plain-{lora}-{averaged}-{quantization}", row, 4, [])
        (dataset,) = _cached(run)
        after = plain_loop(run, dataset, batch=4)
        module = DreamBoothModule(run.hand_over_model(exact=True), run.config.training, run.config.prior.weight)
        return {name: weights.detach().cpu() for name, weights in module.learning()}, after


def _cached(run: Run) -> Sequence[Dataset]:
    return cache.make_datasets(run, prepared_photos(run), prior.generate_class_images(run))


@pytest.fixture(scope="module")
def bench(tiny_training: Path) -> Iterator[Bench]:
    # Otherwise kernels would choose another order of summation in each run.
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield Bench(tiny_training)
    torch.use_deterministic_algorithms(False)


def test_one_process_speaks_nccl(bench: Bench) -> None:
    assert torch.distributed.get_backend() == "nccl"
    assert bench.distributed.device == torch.device("cuda", 0)
    assert bench.distributed.precision("auto") in (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("row", ROWS, ids=map(str, ROWS))
def test_weights_move_as_in_a_plain_loop_in_float32(bench: Bench, row: Row) -> None:
    training = row.training
    before, wanted = bench.plain("lora" in training, "ema" in training, training.get("quantization", "none"))
    run, found = bench.train(f"row-{ROWS.index(row)}", row)
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    moved, should = ({name: end[name] - before[name] for name in before} for end in (found, wanted))
    apart, memory = distance(moved, should), run.progress.snapshot().device_memory_bytes
    print(f"moves differ by {apart:.2g}")
    assert apart < TOLERANCES[row.precision]
    assert memory


@pytest.mark.parametrize(("row", "tolerance"), RESUMED, ids=str)
def test_a_stopped_run_ends_with_the_same_weights(bench: Bench, row: Row, tolerance: float) -> None:
    name = f"resumed-{RESUMED.index((row, tolerance))}"
    _, wanted = bench.train(f"{name}-whole", row, STEPS)

    def stop(_: Event, snapshot: Snapshot) -> None:
        if snapshot.step >= STOP:
            run.stop.request()

    run = bench.run(name, row, STEPS, [stop])
    with pytest.raises(Interrupted):
        train.train(run, _cached(run))
    resumed, found = bench.train(name, row, STEPS)
    assert resumed.progress.snapshot().step == STEPS
    apart = distance(found, wanted)
    print(f"weights differ by {apart:.2g}")
    assert apart <= tolerance


def test_class_images_are_the_same_when_generated_again(bench: Bench, tmp_path: Path) -> None:
    folders = []
    for number in range(2):
        run = bench.run("generated", Row("bf16", 0), 4, [])
        run.cache = tmp_path / str(number)
        assert prior.generate_class_images(run).generated == 4
        folders.append(manifest_of(run.cache))
    assert folders[0] == folders[1]
