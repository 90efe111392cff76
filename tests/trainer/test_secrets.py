"""The hub's token is in no file, log or HTTP response of a run."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.trainer.fake_hub import FakeHub
from tests.trainer.tiny_training import Job, environment_of_processes, job_of

CANARY = "hf_CanaryThatMustNotBeSeenAnywhere"


@pytest.fixture
def hub(tiny_training: Path) -> Iterator[FakeHub]:
    with FakeHub(tiny_training / "model", token=CANARY).serve() as hub:
        yield hub


def start(hub: FakeHub, job: Job, *more: str) -> subprocess.Popen[bytes]:
    """A cold start: the hub's library reads the environment when it is imported."""
    command = [sys.executable, "-m", "dreambooth_trainer", *job.arguments(*more)]
    secret = {"HF_TOKEN": CANARY, "HF_ENDPOINT": hub.url, "HF_HOME": str(job.folder / "huggingface")}
    with job.log.open("wb") as log:
        environment = {**environment_of_processes(), **secret}
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def files_with_the_token(*folders: Path) -> list[Path]:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert files
    return [file for file in files if CANARY.encode() in file.read_bytes()]


def asked(port: int, path: str) -> bytes:
    """The body of a response of the running trainer; empty if there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return bytes(response.read())
    except OSError:
        return b""


@pytest.mark.slow
def test_no_run_reveals_the_token_that_its_model_needs(tiny_training: Path, hub: FakeHub) -> None:
    job, port = job_of(tiny_training, "secret", model={"source": "hf://studio/tiny"}), free_port()
    answers = b""
    with start(hub, job, "--port", str(port)) as process:
        while process.poll() is None:
            answers += asked(port, "/progress") + asked(port, "/metrics")
            time.sleep(0.2)
    assert process.returncode == 0, job.log.read_text()
    assert f"Bearer {CANARY}" in hub.authorizations, "the token was not used"
    assert {path.name for path in job.output.root.iterdir()} >= {"result.json", "report.html", "losses.jsonl"}
    assert files_with_the_token(job.folder, job.cache) == []
    assert b"dreambooth_" in answers and CANARY.encode() not in answers


@pytest.mark.slow
def test_a_hub_that_sends_the_token_back_does_not_bring_it_into_the_log(tiny_training: Path, hub: FakeHub) -> None:
    hub.repeats = True
    job = job_of(tiny_training, "repeated", model={"source": "hf://studio/tiny"})
    with start(hub, job) as process:
        assert process.wait() == 4
    assert "won't do" in job.log.read_text(), "nothing was sent back"
    assert "***" in job.log.read_text()
    assert files_with_the_token(job.folder) == []
