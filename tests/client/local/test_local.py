"""The client of Python on this machine: trains a tiny model in processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_api.failures import InvalidConfig
from dreambooth_client import DreamBooth, Job, LocalFailure, NotComplete, WorkloadFailed
from dreambooth_trainer.process.records import Records
from tests.patience import PATIENCE
from tests.trainer.tiny_training import settings, write_model, write_photos


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """The spec of a training of a tiny model, without its photos."""
    write_model(tmp_path / "base")
    write_photos(tmp_path / "photos")
    found = settings(tmp_path / "base", tmp_path / "photos", checkpoints={"intervalSeconds": 0})
    del found["subject"]["images"]
    return found


@pytest.fixture
def dreambooth(tmp_path: Path) -> Iterator[DreamBooth]:
    with DreamBooth.local(tmp_path / "runs", cache=tmp_path / "cache") as dreambooth:
        yield dreambooth
        for job in dreambooth.jobs():
            job.delete()


def submitted(dreambooth: DreamBooth, tmp_path: Path, spec: dict[str, Any], **sections: Any) -> Job:
    changed = {name: {**spec.get(name, {}), **section} for name, section in sections.items()}
    return dreambooth.submit(tmp_path / "photos", "dog", name="rex", settings={**spec, **changed})


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def step_of(job: Job) -> int:
    progress = job.refresh().status.progress
    return progress.step if progress else 0


def process_of(folder: Path) -> int:
    return int(json.loads(Records.of(folder).started.read_text())["pid"])


@pytest.mark.slow
def test_from_photos_to_pictures(
    dreambooth: DreamBooth, tmp_path: Path, spec: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    job = submitted(dreambooth, tmp_path, spec, samples={"prompts": ["a {identifier}"], "perPrompt": 2})
    assert job.phase == "Starting" and not job.has_ended
    # The photos were copied: the user may move them.
    for photo in (tmp_path / "photos").iterdir():
        photo.unlink()
    with pytest.raises(LocalFailure, match="rex exists"):
        write_photos(tmp_path / "others")
        dreambooth.submit(tmp_path / "others", "dog", name="rex", settings=spec)
    assert job.wait(progress=True) is job and job.phase == "Complete"
    assert "rex  Running" in capfd.readouterr().err
    assert job.status.progress and (job.status.progress.step, job.status.progress.percent) == (6, 100)
    assert job.status.result and job.status.result.model
    assert [one.name for one in job.pictures()] == ["00-after-00.png", "00-after-01.png"]
    assert job.report().read_text().startswith("<!DOCTYPE html>") and job.result()["identifier"] == "sks"
    assert any("report" in line for line in job.logs(follow=True))
    assert job.fetch() == tmp_path / "runs" / "rex"
    copy = job.fetch(tmp_path / "copy", only=["samples"])
    assert {one.name for one in copy.iterdir()} == {"samples"}

    pictures = job.generate(["a {identifier} on grass", "a {class}"], count=2, size=64, sampler={"steps": 2})
    assert len(pictures) == 4 and all(picture.is_file() for picture in pictures)
    (scene,) = dreambooth.scenes()
    assert scene.phase == "Complete" and scene.pictures() == pictures
    assert scene.status.result and scene.status.result.pictures == 4
    pictures[0].unlink()
    before = pictures[1].stat().st_mtime_ns
    scene.retry()
    assert scene.wait().pictures() == pictures and pictures[1].stat().st_mtime_ns == before
    scene.retry({"perPrompt": 3})
    assert len(scene.wait().pictures()) == 6 and pictures[1].stat().st_mtime_ns == before
    with pytest.raises(WorkloadFailed, match=r"InvalidConfig.*spec\.step: 99") as failed:
        job.generate("a {identifier}", step=99)
    assert failed.value.reason == "InvalidConfig"

    # Two more steps, from the finished run: as `dreambooth run` after a change of the manifest.
    with pytest.raises(WorkloadFailed, match="keepLast"):
        job.retry({"training": {"steps": 8}})
        job.wait()
    job.delete()
    assert dreambooth.jobs() == [] == dreambooth.scenes() and not (tmp_path / "runs" / "rex").exists()


@pytest.mark.slow
def test_a_suspended_and_a_killed_run_continue(dreambooth: DreamBooth, tmp_path: Path, spec: dict[str, Any]) -> None:
    job = submitted(dreambooth, tmp_path, spec, training={**spec["training"], "steps": 150})
    until(lambda: step_of(job) >= 3)
    assert job.phase == "Running" and job.spec["training"]["steps"] == 150
    with pytest.raises(NotComplete):
        job.retry()
    job.suspend()
    assert job.phase == "Suspended" and not job.has_ended and "next start" in (job.status.message or "")
    with DreamBooth.local(tmp_path / "runs") as other:
        assert other.job("rex").phase == "Suspended"
    seen = step_of(job)
    job.resume()
    until(lambda: step_of(job) > seen)
    os.kill(process_of(tmp_path / "runs" / "rex"), signal.SIGKILL)
    until(lambda: job.refresh().has_ended)
    with pytest.raises(WorkloadFailed, match="Killed"):
        job.wait()
    job.retry({"training": {"steps": 152}})
    assert job.wait().status.progress and job.status.progress.step == 152


@pytest.mark.slow
def test_runs_of_the_command_line_are_seen(dreambooth: DreamBooth, tmp_path: Path, spec: dict[str, Any]) -> None:
    spec["subject"]["images"] = {"path": str(tmp_path / "photos")}
    metadata = {"apiVersion": "dreambooth.io/v1alpha1", "kind": "DreamBoothJob", "metadata": {"name": "tom"}}
    (tmp_path / "tom.yaml").write_text(yaml.safe_dump({**metadata, "spec": spec}))
    command = [Path(sys.executable).with_name("dreambooth"), "run", "tom.yaml", "--cache", "cache"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        until(lambda: dreambooth.jobs() and dreambooth.job("tom").status.progress)
        job = dreambooth.job("tom")
        assert job.phase == "Running"
        job.wait()
        assert process.wait(PATIENCE) == 0
    assert job.status.progress and job.status.progress.step == 6
    with pytest.raises(LocalFailure, match="a terminal has started it"):
        list(job.logs())


def test_mistakes_are_explained(dreambooth: DreamBooth, tmp_path: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(LocalFailure, match="DreamBoothJob nobody does not exist in"):
        dreambooth.job("nobody")
    for name in ("..", ".", "../photos", str(tmp_path / "photos")):
        with pytest.raises(LocalFailure, match="does not exist"):
            dreambooth.job(name)
    with pytest.raises(InvalidConfig, match=r"spec\.model\.source: 'pvc://models/base' is only at hand in the cluster"):
        dreambooth.check(tmp_path / "photos", "dog", settings={**spec, "model": {"source": "pvc://models/base"}})
    with pytest.raises(InvalidConfig, match=r"spec\.training\.steps: 0"):
        submitted(dreambooth, tmp_path, spec, training={"steps": 0})
    with pytest.raises(InvalidConfig, match=r"photos: '0\.png' is the name of two files"):
        dreambooth.check([tmp_path / "photos" / "0.png"] * 2, "dog")
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    assert dreambooth.jobs() == [] == dreambooth.runtimes() and list((tmp_path / "runs").iterdir()) != []
