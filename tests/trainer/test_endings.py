"""Signals, limits and lost streams: the state is kept, and the exit code is a documented one."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.warm_start import warm_start
from dreambooth_api.failures import Interrupted
from tests.patience import PATIENCE
from tests.trainer.tiny_training import Job, environment_of_processes, job_of, signal_when, wait

pytestmark = pytest.mark.slow

LONG = {"training": {"steps": 100_000}, "checkpoints": {"intervalSeconds": 600}}


def has_trained(job: Job) -> Callable[[], bool]:
    return lambda: job.output.losses.exists() and job.output.losses.stat().st_size > 0


def assert_saved(job: Job) -> None:
    assert job.termination["reason"] == "Interrupted"
    assert len(list(job.output.checkpoints.glob("step-*"))) == 1
    assert not job.output.lock.exists()


@pytest.mark.parametrize("name", ["SIGHUP", "SIGQUIT", "SIGTERM", "SIGINT", "SIGUSR1", "SIGXCPU"])
def test_a_signal_saves_the_state(tiny_training: Path, name: str) -> None:
    if signal.getsignal(signal.Signals[name]) == signal.SIG_IGN:
        pytest.skip(f"the tests were started to ignore {name}, as by nohup, and so are their processes")
    job = job_of(tiny_training, f"ended-by-{name}", **LONG)
    process = job.start()
    signal_when(process, signal.Signals[name], has_trained(job))
    assert wait(process) == Interrupted.exit_code, job.log.read_text()
    assert_saved(job)


def test_several_signals_do_not_lose_the_state(tiny_training: Path) -> None:
    job = job_of(tiny_training, "ended-again-and-again", **LONG)
    process = job.start()
    signal_when(process, signal.SIGTERM, has_trained(job))
    while process.is_alive():
        process.terminate()
        time.sleep(0.001)
    assert wait(process) == Interrupted.exit_code, job.log.read_text()
    assert_saved(job)


def ignore_hangups() -> None:
    """Ignores SIGHUP, as nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_run_under_nohup_survives_its_terminal(tiny_training: Path) -> None:
    job = job_of(tiny_training, "nohup", training={"steps": 40})
    process = warm_start(job.arguments(), job.log, before=ignore_hangups)
    signal_when(process, signal.SIGHUP, has_trained(job))
    assert wait(process) == 0
    assert job.termination["reason"] == "Completed"


def lose_the_readers() -> None:
    """Makes standard output and error a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    for stream in (1, 2):
        os.dup2(writer, stream)


def close_the_streams() -> None:
    """Closes all streams, as `<&- >&- 2>&-` of a shell does."""
    for stream in range(3):
        os.close(stream)


def fill_the_log() -> None:
    """Makes writes to the log fail, as on a full volume."""
    file = os.open("/dev/full", os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)


@pytest.mark.parametrize("lose", [lose_the_readers, close_the_streams, fill_the_log])
def test_lost_streams_do_not_end_a_run(tiny_training: Path, lose: Callable[[], None]) -> None:
    job = job_of(tiny_training, lose.__name__)
    assert wait(warm_start(job.arguments(), job.log, before=lose)) == 0
    assert job.termination["reason"] == "Completed"
    assert job.output.complete.exists()


def test_a_file_size_limit_is_no_fault_of_the_trainer(tiny_training: Path) -> None:
    job = job_of(tiny_training, "file-size")
    assert wait(warm_start(job.arguments(), job.log, before=limit_files)) == 7
    assert job.termination["reason"] == "StorageFull"


def limit_files() -> None:
    """Limits files to half a megabyte, as `ulimit -f` of a shell does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))


def test_a_pipe_to_head_of_the_command_line(tiny_training: Path, tmp_path: Path) -> None:
    manifest = f"""
apiVersion: dreambooth.io/v1alpha1
kind: DreamBoothJob
metadata: {{name: rex}}
spec:
  model: {{source: {tiny_training / "model"}}}
  subject: {{class: dog, identifier: sks, images: {{path: {tiny_training / "photos"}}}}}
  prior: {{images: 2, sampler: {{steps: 1}}}}
  training: {{steps: 2, mixedPrecision: fp32}}
  samples: {{prompts: [], steps: 1}}
  evaluation: {{enabled: false}}
"""
    (tmp_path / "x.yaml").write_text(manifest)
    command = f"{sys.executable} -c 'import dreambooth_cli; dreambooth_cli.main()' run x.yaml --cache cache | head -1; "
    ended = subprocess.run(
        ["bash", "-c", command + "exit ${PIPESTATUS[0]}"],
        cwd=tmp_path,
        env=environment_of_processes(),
        capture_output=True,
        timeout=PATIENCE,
    )
    # The photos of this test are noise, of which there are warnings.
    others = [line for line in ended.stderr.splitlines() if not line.startswith(b"warning: ")]
    assert (ended.returncode, others) == (0, [])
    assert (tmp_path / "runs" / "rex" / "COMPLETE").exists()
