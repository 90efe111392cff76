"""Runs that are killed, stopped or damaged, and their next start."""

import json
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dreambooth_api.failures import CommunicationFailure, Interrupted
from tests.trainer.tiny_training import (
    Job,
    distance,
    hidden_gpus,
    job_of,
    plain_loop,
    signal_when,
    wait,
    weights_in,
)
from tests.trainer.training.test_checkpoints import flip_a_bit, truncate

STEPS = 40


def long_job(
    root: Path, name: str, *, stage: int = 0, batch: int = 2, steps: int = STEPS, interval: int = 0, **more: Any
) -> Job:
    """A training that is long enough to be interrupted; `more` are further sections."""
    return job_of(
        root,
        name,
        training={"steps": steps, "batchSize": batch, "ema": {"enabled": True}},
        deepspeed={"zeroStage": stage},
        checkpoints={"intervalSeconds": interval},
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


def checkpoints(job: Job) -> list[int]:
    """Steps of the checkpoints."""
    return sorted(int(path.name.removeprefix("step-")) for path in job.output.checkpoints.glob("step-*"))


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
        process = job.start()
        signal_when(process, signal.SIGSTOP, lambda: bool(checkpoints(job)) and bool(staged(job)))
        # The folder may have been renamed before the process stopped.
        while not staged(job):
            signal_when(process, signal.SIGCONT, lambda: True)
            signal_when(process, signal.SIGSTOP, lambda: bool(staged(job)))
        signal_when(process, signal.SIGKILL, lambda: True)
        wait(process)
        assert staged(job) and checkpoints(job)
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


def staged(job: Job) -> list[Path]:
    """Folders of incomplete checkpoints."""
    return list(job.output.checkpoints.glob(".step-*"))


def losses(job: Job) -> int:
    return len(job.output.losses.read_text().splitlines()) if job.output.losses.exists() else -1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_state_and_stops(uninterrupted: Job, tiny_training: Path, number: signal.Signals) -> None:
    job = long_job(tiny_training, f"stopped-{number.name}", interval=600)
    process = job.start()
    signal_when(process, number, lambda: losses(job) >= 10)
    assert wait(process) == Interrupted.exit_code
    assert job.termination["reason"] == "Interrupted"
    step = job.termination["step"]
    assert 10 <= step < STEPS
    assert checkpoints(job) == [step]
    assert job.finish() == 0
    assert_equal(job, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip_a_bit, truncate])
def test_a_damaged_checkpoint_is_skipped(uninterrupted: Job, tiny_training: Path, damage: object) -> None:
    job = long_job(tiny_training, f"damaged-{damage.__name__}")  # type: ignore[attr-defined]
    process = job.start()
    signal_when(process, signal.SIGKILL, lambda: len(checkpoints(job)) > 1)
    wait(process)
    newest = max(job.output.checkpoints.glob("step-*"))
    damage(next(newest.rglob("*.safetensors")))  # type: ignore[operator]
    assert job.finish() == 0
    assert_equal(job, uninterrupted)


@pytest.mark.slow
class TestTwoProcesses:
    @pytest.mark.timed
    def test_a_process_is_killed(self, tiny_training: Path) -> None:
        """The other process fails soon, and the next start reaches the weights of an uninterrupted run."""
        whole, job = (long_job(tiny_training, name, stage=3) for name in ("both-alive", "rank-killed"))
        assert [wait(process) for process in whole.start_ranks()] == [0, 0]
        first, second = job.start_ranks()
        signal_when(second, signal.SIGKILL, lambda: bool(checkpoints(job)))
        killed = time.monotonic()
        assert wait(first) == CommunicationFailure.exit_code
        assert time.monotonic() - killed < 60
        assert job.termination["reason"] == "CommunicationFailure"
        assert [wait(process) for process in job.start_ranks()] == [0, 0]
        assert json.loads((job.output.state / "train.json").read_text())["result"]["resumedAt"] > 0
        assert_equal(job, whole)

    @pytest.mark.parametrize("stage", [0, 3])
    def test_torchrun_trains_the_same_weights(self, tiny_training: Path, stage: int) -> None:
        job = job_of(tiny_training, f"torchrun-{stage}", training={"batchSize": 4}, deepspeed={"zeroStage": stage})
        code, output = job.spawn(
            "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", **hidden_gpus(2)
        )
        assert code == 0, output
        assert distance(job.exported(), plain_loop(job.run(2), job.dataset(2), batch=4)) < 1e-4


def of_devices(root: Path, name: str, method: str, stage: int) -> Job:
    training = {"steps": 80, "batchSize": 4, "method": method, "ema": {"enabled": True, "decay": 0.9}}
    return job_of(root, name, training=training, deepspeed={"zeroStage": stage}, samples={"prompts": []})


def stop_after(job: Job, processes: list[BaseProcess], steps: int) -> int:
    """Stops a start of a run by a signal to its last process, and tells the step of the checkpoint."""
    wanted = max(0, losses(job)) + steps
    signal_when(processes[-1], signal.SIGTERM, lambda: losses(job) >= wanted)
    assert [wait(process) for process in processes] == [Interrupted.exit_code] * len(processes)
    return checkpoints(job)[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "stages"), [("full", (0, 2, 0, 3)), ("lora", (3, 0, 1, 2))])
def test_more_or_fewer_devices_go_on_at_another_stage(
    tiny_training: Path, method: str, stages: tuple[int, ...]
) -> None:
    """One process, then two, then one, then two, each with another ZeRO stage, end with the weights of one."""
    whole, name, resumed = of_devices(tiny_training, f"one-device-{method}", method, 0), f"devices-{method}", 0
    assert whole.finish() == 0
    for stage in stages[:3]:
        job = of_devices(tiny_training, name, method, stage)
        step = stop_after(job, job.start_ranks() if stage == stages[1] else [job.start()], 10)
        assert step > resumed
        resumed = step
    job = of_devices(tiny_training, name, method, stages[3])
    assert [wait(process) for process in job.start_ranks()] == [0, 0]
    trained = json.loads((job.output.state / "train.json").read_text())["result"]
    assert trained == {"steps": 80, "resumedAt": resumed, "zeroStage": stages[3], "processes": 2, "batch": 4}
    found, wanted, base = job.exported(), whole.exported(), weights_in(tiny_training / "model")
    moved, should = ({name: end[name] - base[name] for name in end} for end in (found, wanted))
    apart = distance(moved, should)
    print(f"moves differ by {apart:.2g}")
    assert apart < 1e-2
