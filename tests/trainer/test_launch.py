"""The launcher of a pod: exit codes, signals, and pods that connect to each other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dreambooth_api.failures import CommunicationFailure, Interrupted, InvalidConfig, NonFiniteLoss
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.trainer.tiny_training import (
    Job,
    distance,
    environment_of_processes,
    job_of,
    job_with_nan,
)

pytestmark = pytest.mark.slow


def launch(job: Job, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """A launcher, as pods start it."""
    arguments = job.arguments()
    with job.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dreambooth_trainer.launch", *options, "--", *arguments],
            env=environment_of_processes() | environment,
            stdout=log,
            stderr=log,
        )


def two_processes(job: Job) -> subprocess.Popen[bytes]:
    return launch(job, "--processes", "2", "--master", f"127.0.0.1:{free_port()}")


def until_trained(job: Job, process: subprocess.Popen[bytes], steps: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not job.output.losses.exists() or len(job.output.losses.read_text().splitlines()) < steps:
        assert process.poll() is None, job.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_single_process_becomes_the_trainer(tiny_training: Path) -> None:
    job = job_of(tiny_training, "launched-wrong", training={"steps": 0})
    assert launch(job).wait(PATIENCE) == InvalidConfig.exit_code
    assert job.termination["reason"] == "InvalidConfig"


def test_two_pods_train_the_same_weights_as_one_process(tiny_training: Path) -> None:
    alone = job_of(tiny_training, "launched-alone")
    assert alone.finish() == 0
    both = job_of(tiny_training, "launched-pods")
    master = f"127.0.0.1:{free_port()}"
    # The second pod starts first, because pods start in any order.
    pods = [
        launch(both, "--nodes", "2", "--master", master, JOB_COMPLETION_INDEX=str(index))
        for index in reversed(range(2))
    ]
    assert [pod.wait(PATIENCE) for pod in pods] == [0, 0], both.log.read_text()
    assert distance(both.exported(), alone.exported()) < 1e-4
    assert both.termination["reason"] == "Completed"


def test_the_exit_code_is_the_trainers(tiny_training: Path) -> None:
    job = job_with_nan(tiny_training, "launched-nan")
    assert two_processes(job).wait(PATIENCE) == NonFiniteLoss.exit_code, job.log.read_text()
    assert job.termination["reason"] == "NonFiniteLoss"


@pytest.mark.parametrize("signals", [1, 500], ids=["one signal", "many signals"])
def test_a_signal_reaches_all_and_they_save_their_state(tiny_training: Path, signals: int) -> None:
    settings = {"training": {"steps": 100_000}, "checkpoints": {"intervalSeconds": 600}}
    job = job_of(tiny_training, f"launched-stopped-{signals}", **settings)
    process = two_processes(job)
    until_trained(job, process, 5)
    for _ in range(signals):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.002)
    assert process.wait(PATIENCE) == Interrupted.exit_code, job.log.read_text()
    assert job.termination["reason"] == "Interrupted"
    assert list(job.output.checkpoints.glob("step-*"))


def test_a_killed_process_ends_the_others(tiny_training: Path) -> None:
    job = job_of(tiny_training, "launched-killed", training={"steps": 100_000})
    process = two_processes(job)
    until_trained(job, process, 5)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"dreambooth_trainer\0--config" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)
    assert process.wait(PATIENCE) in (128 + signal.SIGKILL, CommunicationFailure.exit_code), job.log.read_text()
