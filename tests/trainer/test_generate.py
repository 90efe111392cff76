import json
from pathlib import Path

import pytest
from PIL import Image

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.generate import generate
from dreambooth_trainer.job import run_job
from dreambooth_trainer.process.storage import manifest_of
from dreambooth_trainer.result import read_result, versions
from dreambooth_trainer.run import RunFolder
from tests.trainer.tiny_training import settings, write_model, write_photos


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that went through all phases, in a few steps with a tiny model."""
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


def test_pictures_of_a_prompt_and_a_sheet(finished: RunFolder, tmp_path: Path) -> None:
    paths = generate(finished.root, "a {identifier} {class} at night!", 3, 5, None, None, tmp_path)
    names = [f"a-sks-dog-at-night-{name}.png" for name in ("0005", "0006", "0007", "sheet")]
    assert [path.name for path in paths] == names
    assert [Image.open(path).size for path in paths[:3]] == [(64, 64)] * 3
    assert len({path.read_bytes() for path in paths[:3]}) == 3


def test_the_samples_can_be_drawn_again(finished: RunFolder, tmp_path: Path) -> None:
    again = generate(finished.root, "a {identifier} {class}", 2, 0, None, None, tmp_path)
    difference = max(
        abs(one - other)
        for number in range(2)
        for one, other in zip(
            Image.open(finished.samples / f"00-after-{number:02d}.png").tobytes(),
            Image.open(again[number]).tobytes(),
            strict=True,
        )
    )
    assert difference <= 2


def test_steps_and_guidance_can_be_chosen(finished: RunFolder, tmp_path: Path) -> None:
    drawn = [
        generate(finished.root, "a dog", 1, 0, steps, scale, tmp_path / f"{steps}-{scale}")[0].read_bytes()
        for steps, scale in ((None, None), (3, None), (None, 6.0))
    ]
    assert len(set(drawn)) == 3


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="holds no finished run") as caught:
        generate(tmp_path, "a dog", 1, 0, None, None, tmp_path / "pictures")
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "pictures").exists()


def test_a_result_with_the_cluster_s_sections_is_read(finished: RunFolder, tmp_path: Path) -> None:
    written = json.loads(finished.result.read_text())
    written["settings"] |= {"resources": {"nodes": 1}, "suspend": False}
    (tmp_path / "result.json").write_text(json.dumps(written))
    assert read_result(tmp_path / "result.json") == read_result(finished.result)


@pytest.mark.parametrize("content", ["", "{", '{"settings": {"training": {"steps": "many"}}}'])
def test_a_damaged_result_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InvalidConfig, match=r"result\.json.*can't be read as the result of a run"):
        read_result(tmp_path / "result.json")


def test_the_result_tells_the_run(finished: RunFolder) -> None:
    result = read_result(finished.result)
    assert (result.class_, result.identifier, result.prompt) == ("dog", "sks", "a sks dog")
    assert json.loads(finished.result.read_text())["class"] == "dog"
    assert result.training.steps == 3
    assert result.figures is not None
    assert result.versions == versions()
    exported = manifest_of(finished.model)
    assert {name: exported[name] for name in result.files} == result.files
    assert set(exported) - set(result.files) == {"SHA256SUMS", "COMPLETE"}
    assert result.sheet is not None and (finished.root / result.sheet).exists()
    assert TrainConfig.model_validate(result.settings).training.steps == 3


def test_samples_show_before_and_after_with_the_same_seeds(finished: RunFolder) -> None:
    names = {path.name for path in finished.samples.iterdir()}
    assert names == {"sheet.png"} | {
        f"{row:02d}-{when}-{number:02d}.png" for row in range(2) for when in ("before", "after") for number in range(2)
    }
    assert len({path.read_bytes() for path in finished.samples.iterdir()}) == len(names)
