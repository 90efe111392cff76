"""What a start does with a folder that an earlier start has left: skip, do again, refuse."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.progress import PhaseName
from tests.trainer.tiny_training import Job, job_of

PHASES = ("prepare", "train", "export", "sample")


@pytest.fixture(scope="module")
def finished(tiny_training: Path) -> Job:
    """A run that is done; not to be changed."""
    job = job_of(tiny_training, "finished")
    assert job.finish() == 0
    return job


@pytest.fixture
def copy(finished: Job, tmp_path: Path) -> Iterator[Job]:
    """A copy of a finished run."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    yield Job(tmp_path / "copy", finished.config, finished.cache)


def done_again(job: Job, code: int = 0) -> list[str]:
    """The recorded phases that another start did again."""
    before = {phase: (job.output.state / f"{phase}.json").stat().st_mtime_ns for phase in PHASES}
    assert job.finish() == code
    return [phase for phase, at in before.items() if (job.output.state / f"{phase}.json").stat().st_mtime_ns != at]


def with_section(job: Job, **sections: dict[str, Any]) -> Job:
    return Job(
        job.folder, {name: {**section, **sections.get(name, {})} for name, section in job.config.items()}, job.cache
    )


@pytest.mark.slow
class TestAFinishedRun:
    def test_leaves_only_what_people_want(self, finished: Job) -> None:
        names = {path.name for path in finished.output.root.iterdir()}
        assert names == {
            *("COMPLETE", "losses.jsonl", "model", "photos", "report.html", "result.json", "samples", "state"),
        }

    def test_is_left_as_it_is(self, copy: Job) -> None:
        files = {path: path.stat().st_mtime_ns for path in copy.output.root.rglob("*") if path.is_file()}
        assert done_again(copy) == []
        assert {path: path.stat().st_mtime_ns for path in files} == files
        # The first start, which the copy's log begins with, switched only the evaluation off.
        assert copy.log.read_text().count("nothing to do") == 1 + len(get_args(PhaseName))

    def test_tells_what_it_left(self, finished: Job) -> None:
        said = finished.termination["result"]
        assert said["identifier"] == "sks"
        for name in ("model", "sheet", "report"):
            assert (finished.output.root / said[name]).exists()
        assert len(said["digest"]) == 64

    def test_draws_changed_prompts(self, copy: Job) -> None:
        changed = with_section(copy, samples={"prompts": ["a {identifier} {class} at night"]})
        assert done_again(changed) == ["sample"]
        result = json.loads(copy.output.result.read_text())
        assert result["settings"]["samples"]["prompts"] == ["a {identifier} {class} at night"]

    def test_refuses_another_training(self, copy: Job) -> None:
        changed = with_section(copy, training={"steps": 7}, prior={"weight": 0.5})
        assert done_again(changed, InvalidConfig.exit_code) == []
        message = copy.termination["message"]
        assert "spec.training.steps: 7 differs from the 6" in message
        assert "spec.prior.weight: 0.5 differs from the 1" in message
        assert copy.output.complete.exists()

    @pytest.mark.parametrize(
        ("lost", "phases"),
        [
            ("samples", ["sample"]),
            ("report.html", []),
            ("photos", ["prepare"]),
            # The weights were removed at the end, so they are trained again.
            ("model", ["train", "export"]),
        ],
    )
    def test_makes_lost_output_again(self, copy: Job, finished: Job, lost: str, phases: list[str]) -> None:
        path = copy.output.root / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert done_again(copy) == phases
        assert path.exists()
        found, wanted = copy.exported(), finished.exported()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    def test_exports_another_format(self, copy: Job) -> None:
        changed = Job(copy.folder, {**copy.config, "output": {"formats": ["single-file"]}}, copy.cache)
        assert done_again(changed) == ["train", "export", "sample"]
        assert (copy.output.model / "model.safetensors").exists()

    def test_is_unfinished_while_a_phase_is_done_again(self, copy: Job) -> None:
        changed = with_section(copy, samples={"prompts": ["a {identifier} {class} at night"]})
        process = changed.start()
        while not any(path.name.startswith(".samples.") for path in copy.output.root.iterdir()):
            assert process.is_alive(), "the samples were drawn before anybody looked"
        process.kill()
        process.join()
        assert not copy.output.complete.exists()
        assert done_again(changed) == ["sample"]
        assert copy.output.complete.exists()
        assert not list(copy.output.root.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["COMPLETE", "COMPLETE and result.json"])
def test_a_kill_at_the_very_end_loses_nothing(copy: Job, lost: str) -> None:
    """Weights and checkpoints are gone already, the mark or the result is not there yet."""
    for name in lost.split(" and "):
        (copy.output.root / name).unlink()
    assert done_again(copy) == []
    assert copy.output.complete.exists()
    assert copy.output.result.exists()
