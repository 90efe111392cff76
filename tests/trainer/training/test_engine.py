"""The engine against a plain torch loop, at every ZeRO stage with one and two processes."""

import json
import os
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.warm_start import server
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import cache, prior, train
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.division import divide
from dreambooth_trainer.training.engine import deepspeed_config
from dreambooth_trainer.training.zero_stage import plan_zero_stage
from tests.ports import free_port
from tests.trainer.tiny_models import build
from tests.trainer.tiny_training import (
    Job,
    distance,
    hidden_gpus,
    job_of,
    plain_loop,
    prepared_photos,
    settings,
    wait,
)

GLOBAL_BATCH = 4
TOLERANCE = 1e-4
STAGES = (0, 1, 2, 3)
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "averaged": {"ema": {"enabled": True, "decay": 0.5}, "gradientAccumulationSteps": 2, "trainTextEncoder": False},
    "lora": {"method": "lora", "lora": {"rank": 4}},
    "sdxl": {"trainTextEncoder": True},
    "int8": {"method": "lora", "lora": {"rank": 4}, "quantization": "int8"},
    "nf4": {"method": "lora", "lora": {"rank": 4}, "quantization": "nf4", "gradientCheckpointing": True},
}
STAGES_OF: dict[str, tuple[int, ...]] = {
    "full": STAGES,
    "averaged": (0, 2),
    "lora": (0, 3),
    "sdxl": (0, 3),
    "int8": (0, 1),
    "nf4": (0, 2),
    "bf16": STAGES,
}
"""Stages by variant: each variant without sharding, and with a kind of sharding that could break it."""


BF16 = {"mixedPrecision": "bf16", "steps": 1, "learningRate": 1e-6}


def variant_of(root: Path, variant: Mapping[str, Any], stage: int = 0) -> Job:
    """A training of the global batch; of the variant `sdxl` with a model of that family."""
    batch = GLOBAL_BATCH // variant.get("gradientAccumulationSteps", 1)
    training = {"steps": 4, "batchSize": batch, **variant}
    model = {"source": str(root / ("sdxl" if variant is VARIANTS["sdxl"] else "model"))}
    return job_of(root, "prepared", model=model, training=training, deepspeed={"zeroStage": stage})


def train_all(root: Path, processes: int, rank: int, port: str) -> None:
    """Trains every variant at every stage in one group of processes, into a folder for each."""
    torch.set_num_threads(1)
    environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ.update(environment, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    distributed = Distributed.from_environment()
    variants = {**VARIANTS, "bf16": BF16}
    for name, stage in [(each, stage) for each in variants for stage in STAGES_OF[each]]:
        variant = variants[name]
        config = TrainConfig.model_validate(variant_of(root, variant, stage).config)
        photos = RunFolder(root / "prepared" / "output").photos
        output = RunFolder(root / f"{name}-{stage}-{processes}")
        output.root.mkdir(exist_ok=True)
        if rank == 0:
            output.photos.symlink_to(photos)
        distributed.connect()
        distributed.barrier()
        run = Run(config, output, root / "cache", distributed, Progress([]), identifiers=["sks"])
        train.train(run, cache.make_datasets(run, prepared_photos(run), prior.generate_class_images(run)))


@pytest.fixture(scope="module")
def trained(tiny_training: Path) -> Path:
    """Folder of the weights of all variants, stages and numbers of processes."""
    build("xl").save_pretrained(tiny_training / "sdxl")
    assert variant_of(tiny_training, {}).finish() == 0
    for processes in (1, 2):
        port, hidden = str(free_port()), hidden_gpus(processes)
        context = get_context("spawn") if hidden else server()
        group = [
            context.Process(target=train_all, args=(tiny_training, processes, rank, port)) for rank in range(processes)
        ]
        # Before the imports: libraries choose their device when they are imported.
        with mock.patch.dict(os.environ, hidden):
            for process in group:
                process.start()
        assert [wait(process) for process in group] == [0] * processes
    return tiny_training


@pytest.fixture(scope="module")
def plain(trained: Path) -> dict[int, dict[str, dict[str, Tensor]]]:
    """Weights of the plain loop by variant, on the device of so many processes."""
    jobs = {name: variant_of(trained, variant) for name, variant in VARIANTS.items()}
    by_processes = {}
    for processes in (1, 2):
        if processes == 1 or hidden_gpus(processes):
            weights = {
                name: plain_loop(job.run(processes), job.dataset(processes), batch=GLOBAL_BATCH)
                for name, job in jobs.items()
            }
        by_processes[processes] = weights
    return by_processes


@pytest.fixture(scope="module")
def base(trained: Path) -> dict[str, Tensor]:
    """Weights of the base model."""
    base = variant_of(trained, {}).run().model
    modules = {"denoiser": base.denoiser, **base.text_encoders}
    return {
        f"{part}.{name}": value.detach().cpu()
        for part, module in modules.items()
        for name, value in module.named_parameters()
    }


def weights_of(root: Path, name: str, stage: int, processes: int) -> dict[str, Tensor]:
    return load_file(RunFolder(root / f"{name}-{stage}-{processes}").weights / "weights.safetensors")


def first_loss(root: Path, name: str, stage: int) -> float:
    """Loss of the first step, which no update has changed, of one process."""
    first, *_ = RunFolder(root / f"{name}-{stage}-1").losses.read_text().splitlines()
    return float(json.loads(first)["loss"])


@pytest.mark.slow
class TestTrainedWeights:
    @pytest.mark.parametrize("processes", [1, 2])
    @pytest.mark.parametrize(("variant", "stage"), [(name, stage) for name in VARIANTS for stage in STAGES_OF[name]])
    def test_equal_those_of_the_plain_loop(
        self,
        trained: Path,
        plain: dict[int, dict[str, dict[str, Tensor]]],
        variant: str,
        stage: int,
        processes: int,
    ) -> None:
        found, wanted = weights_of(trained, variant, stage, processes), plain[processes][variant]
        assert distance(found, wanted) < TOLERANCE
        for name, tensor in wanted.items():
            # A bias that starts at zero is as small as a few learning rates. Errors of a thousandth of one are rounding.
            scale = max(float(tensor.norm()), 3e-2 * tensor.numel() ** 0.5)
            assert float((found[name] - tensor).norm()) < TOLERANCE * scale, name

    @pytest.mark.parametrize("variant", ["full", "averaged"])
    def test_have_moved_far_from_the_base_model(
        self, plain: dict[int, dict[str, dict[str, Tensor]]], base: dict[str, Tensor], variant: str
    ) -> None:
        moved = plain[1][variant]
        assert distance(moved, {name: base[name] for name in moved}) > 10 * TOLERANCE

    @pytest.mark.parametrize("processes", [1, 2])
    @pytest.mark.parametrize("stage", STAGES)
    def test_are_the_float32_masters_under_bf16(
        self, trained: Path, base: dict[str, Tensor], stage: int, processes: int
    ) -> None:
        """Steps a thousand times smaller than bf16's resolution change weights that start as the base model's exactly."""
        found = weights_of(trained, "bf16", stage, processes)
        moved = {name: (found[name] - base[name]).abs() for name in base}
        assert max(float(moves.max()) for moves in moved.values()) < 2e-6
        assert all(float(moves.max()) > 0 for moves in moved.values())

    @pytest.mark.parametrize("stage", STAGES)
    def test_come_from_rounded_arithmetic_under_bf16(self, trained: Path, stage: int) -> None:
        rounded, exact = (first_loss(trained, name, stage) for name in ("bf16", "full"))
        assert 0 < abs(rounded / exact - 1) < 0.02


def test_the_lowest_stage_that_fits_is_planned() -> None:
    def plan(memory: float, processes: int = 8) -> int:
        return plan_zero_stage(
            parameters=10**9, precision=torch.bfloat16, memory=int(memory * 10**9), processes=processes
        )

    assert [plan(memory) for memory in (27, 26, 10, 9, 6.5, 6)] == [0, 1, 1, 2, 2, 3]
    assert plan(1, processes=1) == 0


class TestDeepSpeedConfig:
    @staticmethod
    def config(stage: int, precision: torch.dtype, **deepspeed: Any) -> dict[str, Any]:
        sections = settings(Path("model"), Path("photos"), deepspeed=deepspeed)
        parsed = TrainConfig.model_validate(sections)
        division = divide(parsed.training, rank=0, size=1)
        return deepspeed_config(
            parsed.training, parsed.deepspeed, division, stage=stage, precision=precision, parameters=1000
        )

    def test_offloads_only_sharded_states(self) -> None:
        offload = {"optimizer": True, "parameters": True}
        offloaded = {
            stage: {
                name.removeprefix("offload_")
                for name in self.config(stage, torch.float32, offload=offload)["zero_optimization"]
                if name.startswith("offload_")
            }
            for stage in STAGES
        }
        assert offloaded == {0: set(), 1: {"optimizer"}, 2: {"optimizer"}, 3: {"optimizer", "param"}}

    def test_buffers_are_not_larger_than_the_gradients(self) -> None:
        assert self.config(2, torch.float32)["zero_optimization"]["reduce_bucket_size"] == 1000

    def test_clips_gradients_unless_the_engine_does(self) -> None:
        assert self.config(0, torch.float32)["gradient_clipping"] == 0
        assert self.config(2, torch.float32)["gradient_clipping"] == 1

    def test_leaves_bf16_to_autocast_where_nothing_is_sharded(self) -> None:
        configs = [self.config(stage, torch.bfloat16) for stage in STAGES]
        assert [config["torch_autocast"]["enabled"] for config in configs] == [True, False, False, False]
        assert [config["bf16"]["enabled"] for config in configs] == [False, True, True, True]
