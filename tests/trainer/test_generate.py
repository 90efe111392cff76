import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from dreambooth_api.failures import InvalidConfig, OutOfMemory
from dreambooth_api.training import TrainConfig
from dreambooth_cli import app
from dreambooth_trainer.gallery import LONGEST_STEM, stem
from dreambooth_trainer.job import run_job
from dreambooth_trainer.models import load
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.phases.export import exported_model
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import manifest_of
from dreambooth_trainer.result import read_result, versions
from dreambooth_trainer.run import RunFolder
from tests.trainer.tiny_training import finish, settings, write_model, write_photos

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of all phases, with a few steps and a tiny model."""
    root = tmp_path_factory.mktemp("finished")
    write_model(root / "base")
    write_photos(root / "photos")
    config = TrainConfig.model_validate(
        settings(
            root / "base",
            root / "photos",
            training={"steps": 3, "batchSize": 2},
            samples={"prompts": ["a {identifier} {class}", "a {class} at night"], "perPrompt": 2},
            evaluation={
                "enabled": True,
                "contexts": ["at night", "in the snow"],
                "otherClasses": ["cat", "car"],
                "perPrompt": 2,
            },
        )
        | {"output": {"formats": ["single-file"]}}
    )
    assert run_job(config, root / "run", cache=root / "cache") == 0
    return RunFolder(root / "run")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of method lora whose adapters change the pictures visibly."""
    root = tmp_path_factory.mktemp("adapted")
    write_model(root / "base")
    write_photos(root / "photos")
    lora = {"steps": 2, "batchSize": 2, "method": "lora", "learningRate": 0.05, "trainTextEncoder": False}
    config = settings(root / "base", root / "photos", training=lora, prior={"enabled": False})
    assert run_job(TrainConfig.model_validate(config), root / "run", cache=root / "cache") == 0
    return RunFolder(root / "run")


def generated(run: RunFolder, output: Path, *arguments: str) -> list[Path]:
    """The files that `dreambooth generate` prints; the last one is a contact sheet."""
    result = RUNNER.invoke(app, ["generate", str(run.root), *arguments, "-o", str(output)])
    assert result.exit_code == 0, result.output
    return [Path(line) for line in result.stdout.splitlines()]


def refused(run: RunFolder, output: Path, *arguments: str) -> str:
    """The message of `dreambooth generate` when it fails."""
    result = RUNNER.invoke(app, ["generate", str(run.root), *arguments, "-o", str(output)])
    assert (result.exit_code, output.exists()) == (2, False), result.output
    return " ".join(result.stderr.replace("│", " ").split())


def difference(one: Path, other: Path) -> int:
    """The largest difference of two pictures in any channel."""
    a, b = Image.open(one), Image.open(other)
    return max(abs(x - y) for x, y in zip(a.tobytes(), b.tobytes(), strict=True))


def test_pictures_of_a_prompt_and_a_sheet(finished: RunFolder, tmp_path: Path) -> None:
    paths = generated(finished, tmp_path, "a {identifier} {class} at night!", "-n", "3", "--seed", "5")
    names = [f"a-sks-dog-at-night-{name}.png" for name in ("0005", "0006", "0007", "sheet")]
    assert [path.name for path in paths] == names
    assert [Image.open(path).size for path in paths[:3]] == [(64, 64)] * 3
    assert len({Image.open(path).tobytes() for path in paths[:3]}) == 3


def test_the_samples_can_be_generated_again(finished: RunFolder, tmp_path: Path) -> None:
    again = generated(finished, tmp_path, "a {identifier} {class}", "-n", "2")
    for number in range(2):
        assert difference(finished.samples / f"00-after-{number:02d}.png", again[number]) <= 2


def test_settings_are_in_each_picture_and_in_a_file_next_to_it(finished: RunFolder, tmp_path: Path) -> None:
    options = ["--negative-prompt", "a {class}, Füße", "--scheduler", "ddim", "--steps", "3", "--guidance-scale", "2.5"]
    first, second, _ = generated(
        finished, tmp_path, "a {identifier}", "-n", "2", "--seed", "7", "--size", "64x72", *options
    )
    assert Image.open(first).size == (64, 72)
    written = json.loads(second.with_suffix(".json").read_text())
    assert written.pop("versions") == versions()
    assert (
        written.pop("model")
        == load(exported_model(finished, read_result(finished.result).config), Distributed(), "fp32").digest
    )
    assert written == {
        "prompt": "a sks",
        "negativePrompt": "a dog, Füße",
        "seed": 8,
        "scheduler": "ddim",
        "steps": 3,
        "guidanceScale": 2.5,
        "width": 64,
        "height": 72,
        "device": Distributed().device_name,
    }
    inside = Image.open(second).text  # type: ignore[attr-defined]
    assert (inside["prompt"], inside["negativePrompt"], inside["seed"]) == ("a sks", "a dog, Füße", "8")
    assert json.loads(inside["versions"]) == versions()


def test_each_setting_gives_another_picture_and_no_file_is_replaced(finished: RunFolder, tmp_path: Path) -> None:
    choices: list[list[str]] = [
        [],
        ["--steps", "3"],
        ["--guidance-scale", "9"],
        ["--scheduler", "ddim"],
        ["--guidance-scale", "9", "--negative-prompt", "red"],
        ["--size", "72"],
    ]
    prompts = ["a {class}", "a {class}!"]  # two with the same letters
    paths = [generated(finished, tmp_path, prompt, "-n", "1", *more)[0] for prompt in prompts for more in choices]
    assert len(set(paths)) == len(choices) * len(prompts)
    assert len({Image.open(path).tobytes() for path in paths}) >= len(choices)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert [generated(finished, tmp_path, prompts[0], "-n", "1", *more)[0] for more in choices] == paths[: len(choices)]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_files_of_others_are_kept(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "a-dog-0000.png").write_text("mine")
    (tmp_path / "a-dog-0000-2.json").write_text("{")
    (picture, _) = generated(finished, tmp_path, "a {class}", "-n", "1")
    assert picture.name == "a-dog-0000-3.png"
    assert (tmp_path / "a-dog-0000.png").read_text() == "mine"


def test_ctrl_c_keeps_the_saved_pictures(finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = StableDiffusion.generate, []

    def interrupted(self: StableDiffusion, prompts: list[str], *arguments: Any) -> Any:
        calls.append(len(prompts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, prompts, *arguments)

    monkeypatch.setattr(StableDiffusion, "generate", interrupted)
    command = ["generate", str(finished.root), "a dog", "-n", "20", "-o", str(tmp_path)]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 9
    assert "the same command resumes the run" in result.stderr
    assert (
        len(result.stdout.splitlines()) == len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.json"))) == 16
    )
    assert RUNNER.invoke(app, command).exit_code == 0
    assert calls == [16, 4, 4]
    assert len(list(tmp_path.glob("*.png"))) == 21


def test_a_sheet_shows_many_pictures(finished: RunFolder, tmp_path: Path) -> None:
    *pictures, sheet = generated(finished, tmp_path, "a dog", "-n", "9", "--steps", "1")
    one_row = generated(finished, tmp_path, "a dog", "-n", "8", "--steps", "1")[-1]
    assert len(pictures) == 9
    assert Image.open(sheet).height > Image.open(one_row).height


def test_adapters_are_scaled(adapted: RunFolder, tmp_path: Path) -> None:
    def picture(*options: str) -> Path:
        return generated(adapted, tmp_path, "a {identifier} {class}", "-n", "1", *options)[0]

    whole, none, half, one = picture(), *(picture("--adapter-scale", scale) for scale in ("0", "0.5", "1"))
    assert difference(none, adapted.samples / "00-before-00.png") <= 2 < difference(whole, none)
    assert difference(whole, one) <= 2 < min(difference(half, whole), difference(half, none))
    assert json.loads(half.with_suffix(".json").read_text())["adapterScale"] == 0.5


def test_dora_has_no_scale(adapted: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(adapted.root, run.root)
    result = json.loads(run.result.read_text())
    result["settings"]["training"]["lora"]["useDora"] = True
    run.result.write_text(json.dumps(result))
    message = refused(run, tmp_path / "pictures", "a dog", "--adapter-scale", "0.5")
    assert "--adapter-scale: 0.5 can't be applied, because the run trained DoRA" in message


def test_pictures_that_can_not_be_generated_are_refused(finished: RunFolder, tmp_path: Path) -> None:
    output = tmp_path / "pictures"
    assert "--size: 68 should be a multiple of 8. Give a whole number, at least 64, at most 2048" in refused(
        finished, output, "a dog", "--size", "68x64"
    )
    assert "--size: 'big' is no size. Give the side of a square" in refused(finished, output, "a dog", "--size", "big")
    assert "--step: 2 is no step whose weights the run in " in (
        said := refused(finished, output, "a dog", "--step", "2")
    )
    assert said.endswith("has kept. Give one of 3.")
    assert "because the run trained all weights" in refused(finished, output, "a dog", "--adapter-scale", "0.5")
    without_guidance = ["--negative-prompt", "red", "--guidance-scale", "1"]
    assert "--negative-prompt: 'red' has no effect" in refused(finished, output, "a dog", *without_guidance)
    assert "PROMPT 2: 'a {klass}' has the unknown placeholder" in refused(finished, output, "a dog", "a {klass}")
    assert "loses 'sks'" in refused(finished, output, "in the snow " * 20 + "a {identifier}")
    assert "unknown placeholder {klass}" in refused(finished, output, "a dog", "--negative-prompt", "{klass}")


def test_a_model_that_takes_the_guidance_scale_has_no_negative_prompt(adapted: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(adapted.root, run.root)
    (run.model / "diffusers" / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    message = refused(run, tmp_path / "pictures", "a dog", "--negative-prompt", "red")
    assert "'red' has no effect, because FLUX.1 takes the guidance scale as an input. Remove it." in message


def test_the_lost_end_of_a_prompt_is_reported(finished: RunFolder, tmp_path: Path) -> None:
    prompt = "a {identifier} {class} " + "in the snow " * 20
    result = RUNNER.invoke(
        app, ["generate", str(finished.root), prompt, "-n", "1", "--steps", "1", "-o", str(tmp_path)]
    )
    assert result.exit_code == 0
    assert "warning: PROMPT: the text encoder cuts off 'in the snow" in result.stderr


def test_an_unfinished_run_generates_with_its_exported_model(finished: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished.root, run.root)
    run.complete.unlink()
    run.result.unlink()
    result = RUNNER.invoke(app, ["generate", str(run.root), "a {identifier}", "-n", "1", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "warning: the run has not finished: the weights are those after step 3" in result.stderr
    (picture, _) = generated(finished, tmp_path, "a {identifier}", "-n", "1")
    assert result.stdout.splitlines()[0] == str(picture)
    run.settings.write_text("{")
    said = refused(run, tmp_path / "none", "a dog")
    assert said.startswith("load:") and "RUN: " in said and "can't be read as the state of a run" in said
    shutil.rmtree(run.state)
    assert "is no folder of a run" in refused(run, tmp_path / "none", "a dog")


def test_deepspeed_is_not_loaded() -> None:
    code, output = finish(["-c", "import dreambooth_trainer.generate, sys; print('deepspeed' in sys.modules)"])
    assert (code, output.split()[-1]) == (0, "False"), output


def test_prompts_that_are_filled_in_alike_are_one(finished: RunFolder, tmp_path: Path) -> None:
    names = [path.name for path in generated(finished, tmp_path, "a {class}", "a cat", "a dog", "-n", "2")]
    assert names == [*(f"a-{word}-000{seed}.png" for word in ("dog", "cat") for seed in range(2)), "a-dog-sheet.png"]


def test_too_little_memory_asks_for_smaller_pictures(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(StableDiffusion, "generate", fail)
    result = RUNNER.invoke(app, ["generate", str(finished.root), "a dog", "-o", str(tmp_path)])
    assert result.exit_code == OutOfMemory.exit_code
    assert "OutOfMemory: CUDA out of memory. Tried to allocate 2.00 GiB. Give a smaller size" in result.stderr


@pytest.mark.parametrize("prompt", ["...", "🐶", "狗" * 200, "a" * 500])
def test_any_prompt_gives_a_name(prompt: str) -> None:
    assert 0 < len(stem(prompt).encode()) <= LONGEST_STEM


def test_a_result_of_version_0_1_0_is_read(finished: RunFolder, tmp_path: Path) -> None:
    written = json.loads(finished.result.read_text())
    written["settings"] |= {"resources": {"nodes": 1}, "suspend": False}
    written["settings"]["checkpoints"] = {**written["settings"]["checkpoints"], "everySteps": 100}
    (tmp_path / "result.json").write_text(json.dumps(written))
    assert read_result(tmp_path / "result.json") == read_result(finished.result)


@pytest.mark.parametrize("content", ["", "{", '{"settings": {"training": {"steps": "many"}}}'])
def test_a_damaged_result_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InvalidConfig, match=r"result\.json.*can't be read as the result of a run"):
        read_result(tmp_path / "result.json")


def test_the_result_describes_the_run(finished: RunFolder) -> None:
    result = read_result(finished.result)
    assert (result.class_, result.identifier, result.prompt) == ("dog", "sks", "a sks dog")
    assert json.loads(finished.result.read_text())["class"] == "dog"
    assert result.training.steps == 3
    assert result.figures is not None
    assert result.versions == versions()
    exported = manifest_of(finished.model)
    assert {name: exported[name] for name in result.files} == result.files
    assert set(exported) - set(result.files) == {"SHA256SUMS"}
    assert set(result.memory) == set(result.seconds) >= {"prior", "train", "evaluate"}
    assert all(used.measured > 10**7 for used in result.memory.values())
    assert result.sheet is not None and (finished.root / result.sheet).exists()
    assert TrainConfig.model_validate(result.settings).training.steps == 3


def test_samples_show_before_and_after_with_the_same_seeds(finished: RunFolder) -> None:
    names = {path.name for path in finished.samples.iterdir()}
    assert names == {"sheet.png"} | {
        f"{row:02d}-{when}-{number:02d}.png" for row in range(2) for when in ("before", "after") for number in range(2)
    }
    assert len({path.read_bytes() for path in finished.samples.iterdir()}) == len(names)
