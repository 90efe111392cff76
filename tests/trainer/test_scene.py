"""Scenes as pods start them: `python -m dreambooth_trainer.scene`, with finished and unfinished runs."""

import json
import shutil
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from dreambooth_api.failures import Interrupted, InvalidConfig, ModelUnavailable, StorageUnavailable
from dreambooth_api.progress import Snapshot
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import RunFolder
from dreambooth_trainer.trained import Weights, read_run
from dreambooth_trainer.training.module import DreamBoothModule
from tests.ports import free_port
from tests.trainer.scene_process import SceneProcess, content, difference
from tests.trainer.tiny_training import Job, finish, interrupted, job_of, signal_when, wait

pytestmark = pytest.mark.slow

MANY = {"prompts": ["a {identifier} {class}", "a {class} at night"], "perPrompt": 40, "sampler": {"steps": 20}}
"""A scene of five batches, which can be stopped in its middle."""

LORA = {"method": "lora", "trainTextEncoder": False, "learningRate": 0.05}


@pytest.fixture(scope="module")
def finished(tiny_training: Path) -> Job:
    """A finished run; not to be changed."""
    job = job_of(tiny_training, "with-scenes")
    assert job.finish() == 0, job.log.read_text()
    return job


@pytest.fixture(scope="module")
def undisturbed(finished: Job, tmp_path_factory: pytest.TempPathFactory) -> SceneProcess:
    """A scene that has ended; not to be changed."""
    scene = SceneProcess(finished.output, tmp_path_factory.mktemp("undisturbed"), MANY)
    assert scene.finish() == 0, scene.log.read_text()
    return scene


def test_a_scene_leaves_pictures_a_record_and_a_contact_sheet(undisturbed: SceneProcess) -> None:
    record, names = undisturbed.record, {path.name for path in undisturbed.output.iterdir()}
    files = [picture["file"] for picture in record["pictures"]]
    assert names == {*files, *(f"{Path(file).stem}.json" for file in files), "scene.png", "scene.json"}
    assert [(one["prompt"], one["seed"]) for one in record["pictures"]] == [
        (prompt, seed) for prompt in ("a sks dog", "a dog at night") for seed in range(40)
    ]
    assert (record["identifier"], record["step"], len(record["model"])) == ("sks", 6, 64)
    settings = record["settings"]
    assert (settings["scheduler"], settings["steps"], settings["guidanceScale"]) == ("dpm-solver++", 20, 1)
    termination = undisturbed.termination
    assert (termination["reason"], termination["exitCode"], termination["step"]) == ("Completed", 0, 6)
    assert termination["result"] == {
        **{"identifier": "sks", "pictures": 80},
        **{"sheet": "scene.png", "record": "scene.json"},
    }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_scene_goes_on(
    finished: Job, undisturbed: SceneProcess, tmp_path: Path, number: signal.Signals
) -> None:
    scene = SceneProcess(finished.output, tmp_path, MANY)
    process = scene.start()
    signal_when(process, number, lambda: len(scene.pictures) > 16)
    code = wait(process)
    if number == signal.SIGTERM:
        assert (code, scene.termination["reason"]) == (Interrupted.exit_code, "Interrupted")
        assert not (scene.output / ".lock").exists()
    (scene.output / f".{scene.pictures[0].name}.a1b2c3d_").write_bytes(b"the beginning of a picture")
    before = {path: path.stat().st_mtime_ns for path in scene.pictures}
    assert 16 < len(before) < 80 and not (scene.output / "scene.json").exists()
    assert scene.finish() == 0, scene.log.read_text()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(content(scene)) == set(content(undisturbed))
    assert scene.record == undisturbed.record
    for path in scene.pictures:
        assert difference(path, undisturbed.output / path.name) <= 2


def test_progress_counts_the_pictures(finished: Job, tmp_path: Path) -> None:
    port, scene, seen = free_port(), SceneProcess(finished.output, tmp_path, MANY), list[Snapshot]()

    def generates() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress") as response:
                seen.append(Snapshot.model_validate_json(response.read()))
        except OSError:
            return False
        return seen[-1].phase == "generate" and seen[-1].current is not None and seen[-1].current.done > 0

    process = scene.start("--port", str(port))
    signal_when(process, signal.SIGTERM, generates)
    assert wait(process) == Interrupted.exit_code
    last = seen[-1]
    assert [phase.name for phase in last.phases] == ["load", "generate"]
    assert last.current is not None and (last.current.total, last.current.unit) == (80, "pictures")
    assert (last.identifier, last.step, last.total_steps) == ("sks", 6, 6)
    assert 10 < last.percent < 100


def test_one_process_at_a_time_writes_to_the_folder(finished: Job, tmp_path: Path) -> None:
    first = SceneProcess(finished.output, tmp_path / "first", MANY)
    second = SceneProcess(finished.output, tmp_path / "second", MANY)
    tmp_path.joinpath("second").mkdir()
    tmp_path.joinpath("second", "output").symlink_to(first.output)
    process = first.start()
    signal_when(process, signal.SIGSTOP, lambda: len(first.pictures) > 0)
    assert second.finish() == StorageUnavailable.exit_code
    assert f"another process writes to {second.output}: process {process.pid} on " in second.termination["message"]
    process.kill()
    process.join()


def test_a_damaged_picture_is_generated_again(undisturbed: SceneProcess, tmp_path: Path) -> None:
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    scene = SceneProcess(undisturbed.run, tmp_path / "copy", MANY)
    damaged, lost = scene.pictures[3], scene.pictures[5]
    damaged.write_bytes(damaged.read_bytes()[:-300])
    lost.unlink()
    assert scene.finish() == 0, scene.log.read_text()
    assert set(content(scene)) == set(content(undisturbed))
    assert difference(damaged, undisturbed.output / damaged.name) <= 2


def test_a_changed_scene_keeps_what_it_still_has(undisturbed: SceneProcess, tmp_path: Path) -> None:
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    spec = {**MANY, "prompts": ["a {class} at night", "a {class} in the snow"], "perPrompt": 2}
    scene = SceneProcess(undisturbed.run, tmp_path / "copy", spec)
    before = content(scene)
    assert scene.finish() == 0, scene.log.read_text()
    assert content(scene).items() >= before.items()
    added = set(content(scene)) - set(before)
    assert added == {
        *(f"a-dog-in-the-snow-000{seed}.{end}" for seed in range(2) for end in ("png", "json")),
        *("scene-2.png", "scene-2.json"),
    }
    assert scene.termination["result"]["record"] == "scene-2.json"


@pytest.mark.parametrize(
    "training",
    [{}, {"ema": {"enabled": True}}, LORA],
    ids=["full", "average", "lora"],
)
def test_the_newest_checkpoint_generates_what_the_exported_model_does(
    tiny_training: Path, tmp_path: Path, training: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    checkpoints = {"intervalSeconds": 0, "keepLast": True}
    name = f"kept-{request.node.callspec.id}"
    job = job_of(tiny_training, name, training=training, checkpoints=checkpoints)
    assert job.finish() == 0, job.log.read_text()
    spec = {"prompts": ["a {identifier} {class}"], "perPrompt": 2}
    exported = SceneProcess(job.output, tmp_path / "exported", spec)
    assert exported.finish() == 0, exported.log.read_text()
    # What a run has that ended after its last step.
    for path in (job.output.complete, job.output.result):
        path.unlink()
    shutil.rmtree(job.output.model)
    scene = SceneProcess(job.output, tmp_path / "checkpoint", spec)
    assert scene.finish() == 0, scene.log.read_text()
    assert scene.termination["warnings"] == ["the run has not finished: the weights are those after step 6"]
    for one, other in zip(exported.pictures, scene.pictures, strict=True):
        assert difference(one, other) <= 2
    assert scene.record["model"] != exported.record["model"]
    if training is LORA:
        plain = SceneProcess(job.output, tmp_path / "plain", {**spec, "adapterScale": 0})
        assert plain.finish() == 0, plain.log.read_text()
        assert difference(plain.pictures[0], job.output.samples / "00-before-00.png") <= 2
        assert difference(plain.pictures[0], scene.pictures[0]) > 2


class RemovedAfterwards(Weights):
    """Weights whose checkpoint the training removes when they have been read."""

    def read(self, module: DreamBoothModule) -> dict[str, Tensor]:
        """Reads them."""
        tensors = super().read(module)
        shutil.rmtree(self.files[0].parents[1])
        return tensors


def test_a_run_that_failed_half_way(tiny_training: Path, tmp_path: Path) -> None:
    job = interrupted(job_of(tiny_training, "half-way", training={"steps": 100}))
    spec = {"prompts": ["a {identifier} {class}"], "perPrompt": 1}
    scene = SceneProcess(job.output, tmp_path / "scene", spec)
    assert scene.finish() == 0, scene.log.read_text()
    step = scene.record["step"]
    assert 0 < step < 100 and scene.termination["step"] == step
    again = SceneProcess(job.output, tmp_path / "again", {**spec, "step": step})
    assert again.finish() == 0, again.log.read_text()
    assert again.record == scene.record
    never = SceneProcess(job.output, tmp_path / "never", {**spec, "step": 99})
    assert never.finish() == InvalidConfig.exit_code
    assert "spec.step: 99 is no step whose weights the run in " in never.termination["message"]
    run = read_run(job.output)
    found = run.weights(None)
    for weights in (RemovedAfterwards(found.step, found.files), found):
        with pytest.raises(
            ModelUnavailable, match=f"has removed its checkpoint after step {step}, since it has newer ones"
        ):
            run.load(weights, Distributed(), None)
    none = SceneProcess(job.output, tmp_path / "none", spec)
    assert none.finish() == InvalidConfig.exit_code
    assert "has no trained weights yet" in none.termination["message"]


def test_a_run_that_still_trains(tiny_training: Path, tmp_path: Path) -> None:
    job, progress = job_of(tiny_training, "still-training", training={"steps": 100}), tmp_path / "progress.json"
    process = job.start("--progress-log", str(progress))

    def saved() -> int | None:
        return Snapshot.model_validate_json(progress.read_bytes()).checkpoint_step if progress.exists() else None

    signal_when(process, signal.SIGSTOP, lambda: saved() is not None)
    kept = [int(path.name.removeprefix("step-")) for path in job.output.checkpoints.glob("step-*")]
    assert kept and saved() is not None and (saved() or 0) <= max(kept)
    spec = {"prompts": ["a {identifier} {class}"], "perPrompt": 1, "step": max(kept)}
    scene = SceneProcess(job.output, tmp_path / "scene", spec)
    assert scene.finish() == 0, scene.log.read_text()
    assert scene.record["step"] == max(kept)
    assert process.is_alive() and job.output.lock.exists()
    process.kill()
    process.join()


def test_the_base_model_of_a_checkpoint_must_be_the_same(tmp_path: Path, tiny_training: Path) -> None:
    shutil.copytree(tiny_training / "model", tmp_path / "model")
    model = {"source": str(tmp_path / "model")}
    job = interrupted(job_of(tiny_training, "other-base", model=model, training={"steps": 100}))
    (index,) = (tmp_path / "model").glob("scheduler/*.json")
    index.write_text(json.dumps({**json.loads(index.read_text()), "beta_end": 0.02}))
    scene = SceneProcess(job.output, tmp_path / "scene", {"prompts": ["a dog"]})
    assert scene.finish() == ModelUnavailable.exit_code
    assert "is another model than the one that the run in " in scene.termination["message"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"prompts": ["a {klass}"]}, "spec.prompts[0]: 'a {klass}' has the unknown placeholder {klass}"),
        ({"prompts": ["a dog"], "adapterScale": 0.5}, "spec.adapterScale: 0.5 has no effect"),
        ({"prompts": ["in the snow " * 20 + "a {identifier}"]}, "spec.prompts[0]: "),
        ([], "spec: [] is not a section"),
    ],
)
def test_a_mistake_names_the_field(finished: Job, tmp_path: Path, spec: Any, words: str) -> None:
    scene = SceneProcess(finished.output, tmp_path, spec)
    assert scene.finish() == InvalidConfig.exit_code
    assert scene.termination["reason"] == "InvalidConfig" and words in scene.termination["message"]
    assert not scene.output.exists()


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    scene = SceneProcess(RunFolder(tmp_path / "nothing"), tmp_path, {"prompts": ["a dog"]})
    code, output = finish(["-m", "dreambooth_trainer.scene", *scene.arguments()])
    assert code == InvalidConfig.exit_code, output
    assert "--run: " in output and "holds no run whose training has begun" in output
    assert "Traceback" not in output
