"""What a start does with the folder of an earlier start: skip, repeat, refuse."""

import html
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dreambooth_api.failures import Interrupted, InvalidConfig, InvalidData, ModelUnavailable, StorageUnavailable
from dreambooth_api.progress import TrainingPhase
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phase_records import ByPath, Ledger
from dreambooth_trainer.phases import train
from dreambooth_trainer.pipeline import PhaseRunner
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import sha256_of, write_json
from dreambooth_trainer.run import Run, RunFolder
from tests.trainer.tiny_training import ROOT, Job, interrupted, job_of, signal_when, wait, with_section, write_photos

SLOW: dict[str, dict[str, Any]] = {"training": {"steps": 100}, "checkpoints": {"intervalSeconds": 600}}
"""Sections of a training that can be stopped in its middle."""
PHASES = ("prepare", "train", "export", "sample")


@pytest.fixture(scope="module")
def finished(tiny_training: Path) -> Job:
    """A finished run; not to be changed."""
    job = job_of(tiny_training, "finished")
    assert job.finish() == 0
    return job


@pytest.fixture
def copy(finished: Job, tmp_path: Path) -> Iterator[Job]:
    """A copy of a finished run."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    yield Job(tmp_path / "copy", finished.config, finished.cache)


def done_again(job: Job, code: int = 0) -> list[str]:
    """The recorded phases that another start repeated."""
    before = {phase: (job.output.state / f"{phase}.json").stat().st_mtime_ns for phase in PHASES}
    assert job.finish() == code
    return [phase for phase, at in before.items() if (job.output.state / f"{phase}.json").stat().st_mtime_ns != at]


@pytest.mark.slow
class TestAFinishedRun:
    def test_has_only_documented_files(self, finished: Job) -> None:
        names = {path.name for path in finished.output.root.iterdir()}
        assert names == {
            *("COMPLETE", "losses.jsonl", "model", "photos", "report.html", "result.json", "samples", "state"),
        }

    def test_is_not_changed(self, copy: Job) -> None:
        files = {path: path.stat().st_mtime_ns for path in copy.output.root.rglob("*") if path.is_file()}
        assert done_again(copy) == []
        assert {path: path.stat().st_mtime_ns for path in files} == files
        # The copy's log begins with the first start, which had no choice among steps, no evaluation and no upload.
        assert copy.log.read_text().count("nothing to do") == 3 + len(get_args(TrainingPhase))

    def test_restores_its_settings(self, copy: Job) -> None:
        before = copy.output.settings.read_text()
        copy.output.settings.write_text("{")
        assert done_again(copy) == []
        assert copy.output.settings.read_text() == before
        assert TrainConfig.model_validate_json(before).training.steps == 6

    def test_reports_its_results(self, finished: Job) -> None:
        said = finished.termination["result"]
        assert said["identifier"] == "sks"
        for name in ("model", "sheet", "report"):
            assert (finished.output.root / said[name]).exists()
        assert len(said["digest"]) == 64

    def test_generates_changed_prompts(self, copy: Job) -> None:
        changed = with_section(copy, samples={"prompts": ["a {identifier} {class} at night"]})
        assert done_again(changed) == ["sample"]
        result = json.loads(copy.output.result.read_text())
        assert result["settings"]["samples"]["prompts"] == ["a {identifier} {class} at night"]

    def test_refuses_another_training(self, copy: Job) -> None:
        changed = with_section(copy, training={"steps": 7}, prior={"weight": 0.5})
        assert done_again(changed, InvalidConfig.exit_code) == []
        message = copy.termination["message"]
        assert "spec.prior.weight: 0.5 differs from the 1" in message
        assert "spec.training.steps: 7 can't continue the 6 steps of the run" in message
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
    def test_restores_lost_output(self, copy: Job, finished: Job, lost: str, phases: list[str]) -> None:
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
            assert process.is_alive(), "the samples were generated before the check"
        process.kill()
        process.join()
        assert not copy.output.complete.exists()
        assert done_again(changed) == ["sample"]
        assert copy.output.complete.exists()
        assert not list(copy.output.root.glob(".*"))


@pytest.mark.slow
def test_two_processes_generate_the_pictures_of_one(finished: Job, tmp_path: Path) -> None:
    """Of the same model: two batches of samples, and three of the evaluation."""
    evaluation = {"enabled": True, "contexts": ["at night", "at sea"], "otherClasses": ["cat", "car"], "perPrompt": 2}
    results = []
    for number in (1, 2):
        shutil.copytree(finished.folder, tmp_path / str(number))
        job = Job(tmp_path / str(number), finished.config, tmp_path / f"cache-{number}")
        job = with_section(job, samples={"perPrompt": 20}, evaluation=evaluation)
        processes = job.start_ranks() if number == 2 else [job.start()]
        assert [wait(process) for process in processes] == [0] * number, job.log.read_text()
        folders = (job.output.samples, job.output.evaluation)
        pictures = {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}
        results.append((pictures, json.loads(job.output.result.read_text())["figures"]))
        assert job.log.read_text().count("train: started") == 1  # by the first start, which the log begins with
        assert len(list((job.cache / "evaluation").iterdir())) == 5
    one, two = results
    assert len(one[0]) > 40
    assert one == two


@pytest.mark.slow
def test_warnings_about_the_figures_are_in_every_result(tiny_training: Path) -> None:
    evaluation = {"enabled": True, "contexts": ["at night", "at sea"], "otherClasses": ["cat", "car"], "perPrompt": 2}
    # Too few steps to learn anything.
    sections: dict[str, dict[str, Any]] = {
        "model": {"source": "embedded://emoji"},
        "subject": {"images": {"path": str(ROOT / "examples/dog/photos")}},
        "training": {"steps": 1, "learningRate": 1e-7},
        "prior": {"enabled": False},
        "samples": {"prompts": []},
        "evaluation": evaluation,
    }
    job = job_of(tiny_training, "hardly-learned", **sections)
    assert job.finish() == 0, job.log.read_text()
    found = json.loads((job.output.state / "evaluate.json").read_text())["result"]["warnings"]
    assert [warning.split(":")[0] for warning in found] == ["the subject is hardly learned"]
    warnings = json.loads(job.output.result.read_text())["warnings"]
    assert warnings[: len(found)] == found
    assert job.termination["warnings"] == warnings
    report = html.unescape(job.output.report.read_text())
    assert all(warning in report for warning in found)
    assert f"warning: {found[0]}" in job.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["COMPLETE", "COMPLETE and result.json"])
def test_a_kill_at_the_very_end_loses_nothing(copy: Job, lost: str) -> None:
    """Weights and checkpoints are already removed; the mark or the result is not written yet."""
    for name in lost.split(" and "):
        (copy.output.root / name).unlink()
    assert done_again(copy) == []
    assert copy.output.complete.exists()
    assert copy.output.result.exists()


@pytest.fixture
def own(tiny_training: Path, tmp_path: Path) -> Path:
    """A copy of the folder with `model` and `photos`, to be changed."""
    for name in ("model", "photos"):
        shutil.copytree(tiny_training / name, tmp_path / name)
    return tmp_path


@pytest.mark.slow
class TestWhatARunIs:
    """It is identified by the content of its inputs, not by their paths."""

    def test_another_model_in_the_same_folder_is_refused(self, own: Path) -> None:
        job = interrupted(job_of(own, "exchanged", training={"steps": 300}))
        file = next((own / "model" / "unet").glob("*.safetensors"))
        weights = load_file(file)
        weights["conv_out.bias"][0] += 1
        save_file(weights, file, metadata={"format": "pt"})
        assert job.finish() == InvalidConfig.exit_code
        said = job.termination["message"]
        # Long paths are shortened.
        assert said.startswith("spec.model.source: '")
        assert "model' is another model than the one" in said
        assert "Choose another output folder, or restore the original files" in said

    def test_a_moved_run_with_moved_inputs_resumes_to_the_same_weights(self, own: Path) -> None:
        job = interrupted(job_of(own, "moved", **SLOW))
        assert list(job.output.checkpoints.glob("step-*"))
        there = own / "there"
        there.mkdir()
        for name in ("model", "photos", "moved"):
            (own / name).rename(there / name)
        for number, photo in enumerate(sorted((there / "photos").iterdir(), reverse=True)):
            photo.rename(photo.with_name(f"renamed-{number}.png"))
        moved = job_of(there, "moved", **SLOW)
        assert moved.finish() == 0
        alone = job_of(there, "alone", **SLOW)
        assert alone.finish() == 0
        found, wanted = moved.exported(), alone.exported()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    def test_other_photos_are_refused(self, own: Path) -> None:
        job = interrupted(job_of(own, "other-photos", training={"steps": 300}))
        Image.new("RGB", (90, 90), "yellow").save(own / "photos" / "0.png")
        assert job.finish() == InvalidConfig.exit_code
        assert "spec.subject.images: ['0.png'] are not among the photos" in job.termination["message"]

    def test_captions_and_masks_are_resumed_and_belong_to_the_run(self, own: Path) -> None:
        captions = {"captions": {"0.png": "a {identifier} {class} at sea"}, "captionDropout": 0.3, "mask": "loss"}
        mask = Image.new("L", (96, 80), 0)
        mask.paste(255, (10, 12, 60, 70))
        mask.save(own / "photos" / "2.mask.png")
        (own / "photos" / "1.txt").write_text("a {identifier} {class} on a sofa")
        job = interrupted(job_of(own, "captions", subject=captions, **SLOW))
        (own / "photos" / "1.txt").write_text("a {identifier} {class} on a chair")
        assert job.finish() == InvalidConfig.exit_code
        said = job.termination["message"]
        assert "spec.subject.images: ['1.png'] are not among the photos, with their captions and masks" in said
        (own / "photos" / "1.txt").write_text("a {identifier} {class} on a sofa\n")
        Image.new("L", (96, 80), 255).save(own / "photos" / "2.mask.png")
        assert job.finish() == InvalidConfig.exit_code
        mask.save(own / "photos" / "2.mask.png")
        alone, without = job_of(own, "alone", subject=captions, **SLOW), job_of(own, "without", **SLOW)
        assert job.finish() == alone.finish() == 0
        (own / "photos" / "1.txt").unlink()
        assert without.finish() == 0
        found, wanted, other = job.exported(), alone.exported(), without.exported()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert not all(torch.equal(found[name], other[name]) for name in wanted)

    def test_own_class_images_are_resumed_and_belong_to_the_run(self, own: Path) -> None:
        write_photos(own / "discs", scale=2)
        prior = {"source": {"path": str(own / "discs")}, "images": 6}
        job = interrupted(job_of(own, "with-own", prior=prior, **SLOW))
        (own / "discs" / "0.png").rename(own / "discs" / "renamed.png")
        Image.new("RGB", (90, 90), "yellow").save(own / "discs" / "1.png")
        assert job.finish() == InvalidConfig.exit_code
        assert job.termination["message"].startswith("spec.prior.source: ['1.png'] are not among the class images that")
        shutil.rmtree(own / "discs")
        write_photos(own / "discs", scale=2)
        alone, without = job_of(own, "alone", prior=prior, **SLOW), job_of(own, "without", prior={"images": 6}, **SLOW)
        assert job.finish() == alone.finish() == without.finish() == 0
        found, wanted, other = job.exported(), alone.exported(), without.exported()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert not all(torch.equal(found[name], other[name]) for name in wanted)

    def test_photos_among_the_class_images_are_refused(self, own: Path) -> None:
        job = job_of(own, "same", prior={"source": {"path": str(own / "photos")}})
        assert job.finish() == InvalidData.exit_code
        assert "has photos of the subject: 0.png, 1.png, 2.png" in job.termination["message"]

    def test_a_model_that_changes_during_the_run_is_refused(self, own: Path) -> None:
        job = job_of(own, "changing", training={"steps": 300})
        process = job.start()
        schedule = own / "model" / "scheduler" / "scheduler_config.json"
        signal_when(
            process, signal.SIGSTOP, lambda: job.output.losses.exists() and job.output.losses.stat().st_size > 0
        )
        schedule.write_text(schedule.read_text().replace("0.012", "0.013"))
        signal_when(process, signal.SIGCONT, lambda: True)
        assert wait(process) == ModelUnavailable.exit_code
        assert "has changed since this run started" in job.termination["message"]

    def test_a_run_of_version_0_1_0_is_resumed(self, finished: Job, copy: Job) -> None:
        config = TrainConfig.model_validate(copy.config)
        photos = {path.name: sha256_of(path) for path in Path(config.subject.images.path or "").iterdir()}
        old = ByPath(config, photos)
        for phase, key in old.keys.items():
            if (record := copy.output.state / f"{phase}.json").exists():
                write_json(record, {**json.loads(record.read_text()), "key": key})
        write_json(copy.output.state / "training.json", old.determined)
        assert copy.finish() == 0
        # The copy's log begins with the first start, which did all phases.
        assert copy.log.read_text().count("train: started") == 1
        assert "determined" in json.loads((copy.output.state / "training.json").read_text())
        assert with_section(copy, training={"steps": 7}).finish() == InvalidConfig.exit_code


@pytest.mark.slow
def test_one_run_at_a_time_writes_to_a_folder(tiny_training: Path) -> None:
    first = job_of(tiny_training, "one-writer", training={"steps": 100_000}, checkpoints={"intervalSeconds": 600})
    process = first.start()
    signal_when(
        process, signal.SIGCONT, lambda: first.output.losses.exists() and first.output.losses.stat().st_size > 0
    )
    # The same run, and one that would be refused.
    for steps in (100_000, 7):
        second = job_of(tiny_training, "one-writer", training={"steps": steps}, checkpoints={"intervalSeconds": 600})
        assert second.finish() == StorageUnavailable.exit_code
        assert (
            f"another process writes to {first.output.root}: process {process.pid} on " in second.termination["message"]
        )
    assert process.is_alive()
    signal_when(process, signal.SIGTERM, lambda: True)
    assert wait(process) == Interrupted.exit_code
    assert not first.output.lock.exists()


@pytest.mark.slow
def test_a_start_waits_for_one_that_is_being_stopped(tiny_training: Path) -> None:
    job = job_of(tiny_training, "being-stopped", training={"steps": 200}, checkpoints={"intervalSeconds": 600})
    process = job.start()
    signal_when(process, signal.SIGSTOP, lambda: job.output.losses.exists() and job.output.losses.stat().st_size > 0)
    second = job.start()
    signal_when(second, signal.SIGCONT, lambda: "waiting for another process that writes to" in job.log.read_text())
    signal_when(process, signal.SIGTERM, lambda: True)
    signal_when(process, signal.SIGCONT, lambda: True)
    assert [wait(process), wait(second)] == [Interrupted.exit_code, 0]


def test_every_process_skips_the_phases_that_the_main_process_found_done(tmp_path: Path) -> None:
    """Another node's view of a network file system may be older: it lacks the output of the phase."""
    result = train.Trained(steps=4, resumed_at=0, zero_stage=0, processes=2)

    class OfAnotherNode(Distributed):
        def share(self, value: Any) -> Any:
            """The main process's value."""
            return result

    config = TrainConfig.model_validate(job_of(tmp_path, "run").config)
    run = Run(config, RunFolder(tmp_path / "run"), tmp_path, OfAnotherNode(rank=1, size=2), Progress())
    runner = PhaseRunner(run, Ledger(run.folder.state), {"train": "key"})
    assert runner.once("train", train.Trained, tmp_path / "weights", lambda: pytest.fail("ran again")) == result
