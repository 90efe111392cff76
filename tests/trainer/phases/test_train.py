"""Runs that are killed, stopped or damaged, and their next start."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dreambooth_api.failures import CommunicationFailure, Interrupted, InvalidConfig
from tests.trainer.tiny_training import Job, distance, hidden_gpus, job_of, plain_loop, signal_when, wait
from tests.trainer.training.test_checkpoints import flip_a_bit, truncate

STEPS = 40
EVERY = 8


def long_job(
    root: Path, name: str, *, stage: int = 0, batch: int = 2, steps: int = STEPS, every: int = EVERY, **more: Any
) -> Job:
    """A training that is long enough to be interrupted; `more` are further sections."""
    return job_of(
        root,
        name,
        training={"steps": steps, "batchSize": batch, "ema": {"enabled": True}},
        deepspeed={"zeroStage": stage},
        checkpoints={"everySteps": every},
        **more,
    )


@pytest.fixture(scope="module")
def uninterrupted(tiny_training: Path) -> Job:
    """A run without interruption."""
    job = long_job(tiny_training, "uninterrupted")
    assert job.finish() == 0
    return job


def assert_equal(job: Job, wanted: Job) -> None:
    """Weights and losses are equal bit for bit."""
    found, weights = job.exported(), wanted.exported()
    assert found.keys() == weights.keys()
    assert [name for name in weights if not torch.equal(found[name], weights[name])] == []
    assert job.output.losses.read_text() == wanted.output.losses.read_text()
    assert len(job.output.losses.read_text().splitlines()) == STEPS
    assert job.output.complete.exists()


def checkpoint(job: Job, step: int) -> Path:
    return job.output.checkpoints / f"step-{step:08d}"


@pytest.mark.slow
def test_pictures_during_training_change_no_weights(uninterrupted: Job, tiny_training: Path) -> None:
    job = long_job(tiny_training, "sampling", samples={"everySteps": 15})
    assert job.finish() == 0
    folders = sorted(job.output.samples_on_the_way.iterdir())
    assert [folder.name for folder in folders] == ["step-00000015", "step-00000030"]
    early, late = ([Image.open(path) for path in sorted(folder.iterdir())] for folder in folders)
    assert [image.size for image in early] == [image.size for image in late] == [(64, 64)]
    assert early[0].tobytes() != late[0].tobytes()
    assert_equal(job, uninterrupted)


@pytest.mark.slow
class TestKilled:
    @pytest.mark.parametrize("seed", range(3))
    def test_at_random_moments_of_the_training(self, uninterrupted: Job, tiny_training: Path, seed: int) -> None:
        job, moments = long_job(tiny_training, f"killed-{seed}"), random.Random(seed)
        for _ in range(2):
            process = job.start()
            lines = moments.randrange(STEPS - 10)
            signal_when(process, signal.SIGKILL, lambda lines=lines: losses(job) >= lines)  # type: ignore[misc]
            assert wait(process) == -signal.SIGKILL
        assert job.finish() == 0
        assert_equal(job, uninterrupted)

    def test_while_a_checkpoint_is_written(self, uninterrupted: Job, tiny_training: Path) -> None:
        job = long_job(tiny_training, "killed-writing")
        staging = job.output.checkpoints / f".step-{2 * EVERY:08d}"
        process = job.start()
        signal_when(process, signal.SIGKILL, staging.exists)
        wait(process)
        assert staging.exists()
        assert not checkpoint(job, 2 * EVERY).exists()
        assert job.finish() == 0
        assert_equal(job, uninterrupted)

    @pytest.mark.parametrize("phase", ["export", "sample"])
    def test_after_the_training(self, uninterrupted: Job, tiny_training: Path, phase: str) -> None:
        job = long_job(tiny_training, f"killed-in-{phase}")
        before = job.output.state / {"export": "train.json", "sample": "export.json"}[phase]
        process = job.start()
        signal_when(process, signal.SIGKILL, before.exists)
        wait(process)
        assert not job.output.complete.exists()
        assert job.finish() == 0
        assert_equal(job, uninterrupted)


def losses(job: Job) -> int:
    return len(job.output.losses.read_text().splitlines()) if job.output.losses.exists() else -1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_state_and_stops(uninterrupted: Job, tiny_training: Path, number: signal.Signals) -> None:
    job = long_job(tiny_training, f"stopped-{number.name}", every=1000)
    process = job.start()
    signal_when(process, number, lambda: losses(job) >= 10)
    assert wait(process) == Interrupted.exit_code
    assert job.termination["reason"] == "Interrupted"
    step = job.termination["step"]
    assert 10 <= step < STEPS
    assert checkpoint(job, step).is_dir()
    assert job.finish() == 0
    assert_equal(job, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip_a_bit, truncate])
def test_a_damaged_checkpoint_is_skipped(uninterrupted: Job, tiny_training: Path, damage: object) -> None:
    job = long_job(tiny_training, f"damaged-{damage.__name__}")  # type: ignore[attr-defined]
    process = job.start()
    signal_when(process, signal.SIGKILL, checkpoint(job, 3 * EVERY).exists)
    wait(process)
    newest = max(job.output.checkpoints.glob("step-*"))
    damage(next(newest.rglob("*.pt")))  # type: ignore[operator]
    assert job.finish() == 0
    assert_equal(job, uninterrupted)


@pytest.mark.slow
class TestTwoProcesses:
    def test_a_process_is_killed(self, tiny_training: Path) -> None:
        """The other process fails soon, and the next start reaches the weights of a plain loop."""
        job = long_job(tiny_training, "rank-killed", stage=3, batch=1, steps=12, every=4)
        first, second = job.start_ranks()
        signal_when(second, signal.SIGKILL, checkpoint(job, 4).exists)
        killed = time.monotonic()
        assert wait(first) == CommunicationFailure.exit_code
        assert time.monotonic() - killed < 60
        assert job.termination["reason"] == "CommunicationFailure"
        assert [wait(process) for process in job.start_ranks()] == [0, 0]
        assert json.loads((job.output.state / "train.json").read_text())["result"]["resumedAt"] >= 4
        assert distance(job.exported(), plain_loop(job.run(2), job.dataset(2), batch=2)) < 1e-4

    @pytest.mark.parametrize("stage", [0, 3])
    def test_torchrun_trains_the_same_weights(self, tiny_training: Path, stage: int) -> None:
        job = job_of(tiny_training, f"torchrun-{stage}", training={"batchSize": 2}, deepspeed={"zeroStage": stage})
        code, output = job.spawn(
            "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", **hidden_gpus(2)
        )
        assert code == 0, output
        assert distance(job.exported(), plain_loop(job.run(2), job.dataset(2), batch=4)) < 1e-4


@pytest.mark.slow
def test_a_checkpoint_of_another_stage_or_world_is_refused(tiny_training: Path) -> None:
    job = long_job(tiny_training, "another-stage", stage=1)
    process = job.start()
    signal_when(process, signal.SIGKILL, checkpoint(job, EVERY).exists)
    wait(process)
    other = long_job(tiny_training, "another-stage", stage=2)
    assert other.finish() == InvalidConfig.exit_code
    assert "spec.deepspeed.zeroStage: 2 with 1 processes" in other.termination["message"]
    assert "by 1 processes at stage 1" in other.termination["message"]
    assert [wait(process) for process in job.start_ranks()] == [InvalidConfig.exit_code] * 2
    assert "with 2 processes" in job.termination["message"]
