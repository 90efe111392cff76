"""Scenes by a model without a run: exported folders, adapters, the hub."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreambooth_api.failures import InvalidConfig, ModelUnavailable
from dreambooth_api.scene_model import ADAPTER_FILE
from tests.trainer.fake_hub import FakeHub
from tests.trainer.scene_process import SceneProcess, content, difference
from tests.trainer.tiny_training import Job, finish, job_of

pytestmark = pytest.mark.slow

PROMPTS = {"prompts": ["a {identifier} {class}", "a {class} at night"], "perPrompt": 2}
LORA = {"method": "lora", "trainTextEncoder": False, "learningRate": 0.05}


@pytest.fixture(scope="module")
def adapted(tiny_training: Path) -> Job:
    """A finished run of method lora; not to be changed."""
    job = job_of(tiny_training, "adapted", training=LORA, prior={"enabled": False})
    assert job.finish() == 0, job.log.read_text()
    return job


@pytest.fixture(scope="module")
def of_run(adapted: Job, tmp_path_factory: pytest.TempPathFactory) -> SceneProcess:
    """A scene of the run; not to be changed."""
    scene = SceneProcess(adapted.output, tmp_path_factory.mktemp("of-run"), PROMPTS)
    assert scene.finish() == 0, scene.log.read_text()
    return scene


def by(folder: Path, source: Path | str, /, **more: Any) -> SceneProcess:
    """A scene by a model; arguments are further fields of the model."""
    return SceneProcess(None, folder, {**PROMPTS, "model": {"source": str(source), **more}})


def drawn(scene: SceneProcess) -> SceneProcess:
    assert scene.finish() == 0, scene.log.read_text()
    return scene


def refused(scene: SceneProcess, code: int) -> str:
    assert scene.finish() == code, scene.log.read_text()
    assert not scene.output.exists()
    return str(scene.termination["message"])


def test_the_exported_model_of_a_run_generates_the_pictures_of_the_run(
    adapted: Job, of_run: SceneProcess, tmp_path: Path
) -> None:
    scene = drawn(by(tmp_path, adapted.output.model / "diffusers"))
    assert [path.name for path in scene.pictures] == [path.name for path in of_run.pictures]
    assert all(difference(*pair) <= 2 for pair in zip(scene.pictures, of_run.pictures, strict=True))
    assert scene.record["settings"] == of_run.record["settings"]
    assert (scene.record["identifier"], scene.record["step"], of_run.record["step"]) == ("sks", None, 6)
    assert "step" not in scene.termination or scene.termination["step"] is None


def test_a_scene_goes_on_where_another_by_the_same_model_has_ended(
    adapted: Job, of_run: SceneProcess, tmp_path: Path
) -> None:
    shutil.copytree(of_run.output, tmp_path / "output")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "output").glob("a-*.png")}
    drawn(by(tmp_path, adapted.output.model / "diffusers"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = by(tmp_path, adapted.output.model / "diffusers", adapters=[{"source": str(adapted.output.model / "lora")}])
    added = set(content(drawn(again))) - {path.name for path in before}
    assert "a-sks-dog-0000-2.png" in added


def test_adapters_of_a_run_change_its_base_model_into_its_model(
    adapted: Job, of_run: SceneProcess, tiny_training: Path, tmp_path: Path
) -> None:
    lora = str(adapted.output.model / "lora")

    def with_scale(name: str, *scales: float) -> SceneProcess:
        return drawn(
            by(tmp_path / name, tiny_training / "model", adapters=[{"source": lora, "scale": one} for one in scales])
        )

    whole, halves, none = with_scale("whole", 1), with_scale("halves", 0.5, 0.5), with_scale("none", 0)
    model = {"source": str(tiny_training / "model"), "identifier": "sks", "class": "dog"}
    # Without a file of the run, the sampler is not that of the run either.
    sampler = {"steps": 2, "guidanceScale": 1}
    base = drawn(SceneProcess(None, tmp_path / "base", {**PROMPTS, "model": model, "sampler": sampler}))
    for number, path in enumerate(of_run.pictures):
        assert difference(path, whole.pictures[number]) <= 2
        assert difference(path, halves.pictures[number]) <= 2
        assert difference(none.pictures[number], base.pictures[number]) <= 2
    assert difference(whole.pictures[0], none.pictures[0]) > 2
    assert len({one.record["model"] for one in (whole, halves, none, base)}) == 4
    file = drawn(by(tmp_path / "file", tiny_training / "model", adapters=[{"source": f"{lora}/{ADAPTER_FILE}"}]))
    assert file.record == whole.record


def test_a_scale_of_dora_is_refused(tiny_training: Path, tmp_path: Path) -> None:
    """Pictures of a part of its change would be those of no model between the two."""
    training = {**LORA, "steps": 2, "lora": {"useDora": True}}
    job = job_of(
        tmp_path, "dora", model={"source": str(tiny_training / "model")}, training=training, prior={"enabled": False}
    )
    shutil.copytree(tiny_training / "photos", tmp_path / "photos")
    assert job.finish() == 0, job.log.read_text()
    adapter = {"source": str(job.output.model / "lora")}
    half = by(tmp_path / "half", tiny_training / "model", adapters=[adapter, {**adapter, "scale": 0.5}])
    assert "spec.model.adapters[1].scale: 0.5 can't be applied" in refused(half, InvalidConfig.exit_code)
    drawn(by(tmp_path / "whole", tiny_training / "model", adapters=[adapter]))


def test_words_of_the_spec_go_before_those_of_the_run(adapted: Job, tmp_path: Path) -> None:
    scene = drawn(by(tmp_path, adapted.output.model / "diffusers", identifier="zwx"))
    assert {one["prompt"] for one in scene.record["pictures"]} == {"a zwx dog", "a dog at night"}


def test_placeholders_without_words_are_refused(tiny_training: Path, tmp_path: Path) -> None:
    message = refused(by(tmp_path / "one", tiny_training / "model", **{"class": "dog"}), InvalidConfig.exit_code)
    assert (
        "spec.prompts[0]: 'a {identifier} {class}' has {identifier}, but the model is in no folder of a run" in message
    )
    assert message.endswith("Set model.identifier, or write the word.")


def test_a_model_of_the_hub_with_an_adapter_of_the_hub(adapted: Job, tiny_training: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(tiny_training / "model", repository)
    (repository / "styles").mkdir()
    shutil.copy(adapted.output.model / "lora" / ADAPTER_FILE, repository / "styles" / "rex.safetensors")
    with FakeHub(repository, token="secret").serve() as hub:
        secret = {"HF_TOKEN": "secret", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache")}

        def scene(name: str, **adapter: Any) -> SceneProcess:
            words = {"identifier": "sks", "class": "dog"}
            source = "hf://studio/tiny"
            return by(tmp_path / name, source, **words, adapters=[{"source": source, **adapter}])

        found = scene("found", file="styles/rex.safetensors")
        found.spec["sampler"] = {"steps": 2, "guidanceScale": 1}
        code, said = finish(["-m", "dreambooth_trainer.scene", *found.arguments()], **secret)
        assert code == 0, said
        assert "unet/diffusion_pytorch_model.safetensors" in hub.fetched
        missing = scene("missing")
        code, said = finish(["-m", "dreambooth_trainer.scene", *missing.arguments()], **secret)
        assert code == ModelUnavailable.exit_code
        assert (
            f"model.adapters[0].file: '{ADAPTER_FILE}' is no file of 'hf://studio/tiny'"
            in missing.termination["message"]
        )
    local = drawn(
        by(
            tmp_path / "local",
            tiny_training / "model",
            adapters=[{"source": str(adapted.output.model / "lora")}],
        )
    )
    assert all(difference(*pair) <= 2 for pair in zip(found.pictures, local.pictures, strict=True))


def test_adapters_that_do_not_fit_are_refused_by_name(adapted: Job, tiny_training: Path, tmp_path: Path) -> None:
    tensors = load_file(adapted.output.model / "lora" / ADAPTER_FILE)
    changes = {
        "other-names": {name.replace("unet.", "other."): one for name, one in tensors.items()},
        "other-shapes": {name: torch.cat([one, one], dim=1) for name, one in tensors.items()},
    }
    for name, changed in changes.items():
        (tmp_path / name).mkdir()
        save_file(changed, tmp_path / name / ADAPTER_FILE)
        adapters = [{"source": str(tmp_path / name)}]
        scene = by(
            tmp_path / f"scene-{name}", tiny_training / "model", adapters=adapters, identifier="a", **{"class": "b"}
        )
        message = refused(scene, ModelUnavailable.exit_code)
        assert f"model.adapters[0].source: '{tmp_path / name}' can't be added to the model: " in message


def test_a_scene_has_a_run_or_a_model(adapted: Job, tmp_path: Path) -> None:
    neither = SceneProcess(None, tmp_path / "neither", PROMPTS)
    assert "--run: None is missing, and the scene names no model" in refused(neither, InvalidConfig.exit_code)
    model = {**PROMPTS, "model": {"source": str(adapted.output.model / "diffusers")}}
    both = SceneProcess(adapted.output, tmp_path / "both", model)
    assert "is given in addition to the model of the scene" in refused(both, InvalidConfig.exit_code)
