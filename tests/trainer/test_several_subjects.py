"""Runs that learn several subjects."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from dreambooth_api.failures import InvalidConfig, InvalidData
from dreambooth_api.training import TrainConfig
from dreambooth_cli import app
from dreambooth_trainer.evaluation.choice import weakest
from dreambooth_trainer.job import run_job
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import cache, prepare, prior
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.result import read_result
from dreambooth_trainer.run import Run, RunFolder
from tests.trainer.data.scenes import scene
from tests.trainer.test_pipeline import SLOW
from tests.trainer.tiny_training import Job, assert_resumed_to, finish, interrupted, killed, settings, write_model

RUNNER = CliRunner()
EVALUATION = {"enabled": True, "contexts": ["at sea", "at night"], "otherClasses": ["cat", "car"], "perPrompt": 2}
PROMPTS = ["a {identifier} {class}", "{rex}, {max} and {tom} at sea", "at night"]


def write_subjects(root: Path) -> None:
    """Photos of three subjects, of which two are dogs."""
    for number, (name, count) in enumerate({"rex": 3, "max": 1, "tom": 2}.items()):
        (root / name).mkdir(parents=True)
        for photo in range(count):
            scene(10 * number + photo, (96, 80)).save(root / name / f"{photo}.png")


def subjects(root: Path, **tom: Any) -> list[dict[str, Any]]:
    def one(name: str, class_: str, identifier: str) -> dict[str, Any]:
        return {"name": name, "class": class_, "identifier": identifier, "images": {"path": str(root / name)}}

    return [one("rex", "dog", "sks"), one("max", "dog", "ohw"), {**one("tom", "cat", "xyz"), **tom}]


def sections(root: Path, **others: Any) -> dict[str, Any]:
    """The settings of a short training; `tom` replaces fields of the last subject."""
    tom = others.pop("tom", {})
    config = settings(root / "model", root, **others)
    del config["subject"]
    return {**config, "subjects": subjects(root, **tom)}


def job(root: Path, name: str, **others: Any) -> Job:
    return Job(root / name, sections(root, **others), root / "cache")


def run_in(root: Path, config: dict[str, Any], name: str = "run") -> Run:
    validated = TrainConfig.model_validate(config)
    return Run(validated, RunFolder(root / name), root / "cache", Distributed(), Progress())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and the photos."""
    root = tmp_path_factory.mktemp("subjects")
    write_model(root / "model")
    write_subjects(root)
    return root


@pytest.fixture(scope="module")
def finished(root: Path) -> RunFolder:
    """A run of all phases; not to be changed."""
    config = sections(root, samples={"prompts": PROMPTS}, training={"stopping": "best"}, evaluation=EVALUATION)
    assert run_job(TrainConfig.model_validate(config), root / "finished", cache=root / "shared") == 0
    return RunFolder(root / "finished")


def test_each_subject_has_a_folder_of_photos(finished: RunFolder) -> None:
    found = sorted(str(path.relative_to(finished.photos)) for path in finished.photos.rglob("*.png"))
    assert found == ["max/01.png", "rex/01.png", "rex/02.png", "rex/03.png", "tom/01.png", "tom/02.png"]


def test_the_result_has_figures_of_each_subject_and_their_confusion(finished: RunFolder) -> None:
    result = read_result(finished.result)
    assert (result.class_, result.identifier) == ("dog, cat", "sks, ohw, xyz")
    assert result.prompt == "a sks dog, a ohw dog, a xyz cat"
    assert result.subjects is not None
    found = [(one.name, one.class_, one.identifier, one.prompt) for one in result.subjects]
    assert found == [
        ("rex", "dog", "sks", "a sks dog"),
        ("max", "dog", "ohw", "a ohw dog"),
        ("tom", "cat", "xyz", "a xyz cat"),
    ]
    figures = [one.figures for one in result.subjects if one.figures]
    assert len({one.subj for one in figures}) == 3
    assert result.figures == weakest(figures)
    for one in result.subjects:
        assert one.nearest is not None and list(one.nearest) == ["rex", "max", "tom"]
        assert sum(one.nearest.values()) == pytest.approx(1)
    # Those of the class are the same for both dogs where they do not depend on the photos.
    assert figures[0].div_class_after == figures[1].div_class_after != figures[2].div_class_after
    assert result.class_images == 2 * 4
    assert result.choice is not None and len(result.choice.candidates) > 1
    shown = " ".join(finished.report.read_text().split())
    assert all(f"now knows as <code>{word}</code>, named {name}" in shown for name, _, word, _ in found)


def test_samples_with_placeholders_are_of_each_subject(finished: RunFolder) -> None:
    sampled = json.loads((finished.state / "sample.json").read_text())["result"]["prompts"]
    assert [one["prompt"] for one in sampled] == [
        *("a sks dog", "a ohw dog", "a xyz cat"),
        "sks dog, ohw dog and xyz cat at sea",
        "at night",
    ]


def test_class_images_are_those_of_runs_of_one_subject(root: Path, finished: RunFolder) -> None:
    for number, one in enumerate(subjects(root)):
        config = sections(root)
        del config["subjects"]
        alone = run_in(
            root, {**config, "subject": {name: one[name] for name in ("class", "images")}}, f"alone-{number}"
        )
        alone.cache = root / "shared"
        provided = prior.generate_class_images(alone)
        assert provided.generated == 0
        assert [(its.prompt, its.count) for its in provided.sets] == [(f"a {one['class']}", 2), ("", 2)]


def test_each_class_has_as_many_images_whatever_the_number_of_its_subjects(root: Path) -> None:
    run = run_in(root, sections(root))
    provided = prior.generate_class_images(run)
    assert [(one.prompt, one.count) for one in provided.sets] == [("a dog", 2), ("", 4), ("a cat", 2)]


def datasets(root: Path, config: dict[str, Any], name: str) -> tuple[Sequence[Any], prepare.Prepared]:
    run = run_in(root, config, name)
    prepared = prepare.prepare(run)
    run.identifiers = prepared.identifiers
    return cache.make_datasets(run, prepared.photos, prior.generate_class_images(run)), prepared


def test_a_caption_names_another_subject(root: Path) -> None:
    tom = {"captions": {"0.png": "{tom} and {rex}"}}
    run = run_in(root, sections(root, tom=tom), "named")
    prepared = prepare.prepare(run)
    run.identifiers = prepared.identifiers
    written = [cache._caption(run, photo) for photo in prepared.photos if photo.caption]
    assert written == ["xyz cat and sks dog"]


def test_photos_have_the_prompts_of_their_subjects(root: Path, tmp_path: Path) -> None:
    tom = {"captions": {"0.png": "a {identifier} {class} on a sofa"}, "captionDropout": 0.25}
    (data,), prepared = datasets(root, sections(root, tom=tom), "captioned")
    assert data.photos_of_subjects == (3, 1, 2)
    captioned = [photo.caption is not None for photo in prepared.photos]
    assert data.photo_prompt_P.tolist() == [0, 0, 0, 1, *(3 if one else 2 for one in captioned[4:])]
    assert data.caption_dropout.share_P.tolist() == [0, 0, 0, 0, 0.25, 0.25]
    assert data.caption_dropout.prompt_P.tolist() == [0, 0, 0, 1, 2, 2]
    # Versions of class images with the empty prompt have prompts of other words, never those of a class.
    of_classes = data.class_prompt_K.tolist()
    assert of_classes == [4, 4, 5, 5, 5, 5, 6, 6]
    assert data.class_pool is not None
    used = data.class_pool.prompt_N.reshape(-1, 8)
    assert (used[:, [0, 1]] == 4).all() and (used[:, [6, 7]] == 6).all()
    assert all(row == 5 or row > 6 for row in used[:, 2:6].flatten().tolist())


def test_shapes_of_one_subject_do_not_change_the_others(root: Path) -> None:
    found, _ = datasets(root, sections(root, tom={"crop": "none"}), "shapes")
    sizes = {one.photos.mean_BCHW.shape[1:]: one for one in found}
    assert {tuple(shape): one.photos_of_subjects for shape, one in sizes.items()} == {
        (4, 8, 8): (3, 1, 0),
        (4, 7, 9): (0, 0, 2),
    }
    assert all(len(one.class_latents) > 0 for one in found)


def test_identifiers_are_chosen_one_after_the_other(root: Path) -> None:
    config = sections(root)
    for one in config["subjects"]:
        one["identifier"] = "auto"
    first, second = (prepare.prepare(run_in(root, config, f"auto-{number}")).identifiers for number in range(2))
    assert first == second and len(set(first)) == 3
    del config["subjects"][1:]
    (subject,) = config.pop("subjects")
    del subject["name"]
    alone = prepare.prepare(run_in(root, {**config, "subject": subject}, "auto-alone"))
    assert alone.identifiers == first[:1]


def test_identifiers_that_the_model_can_not_tell_apart_are_refused(root: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"spec.subjects\[2\].identifier: 'sks-1' begins with the tokens of 'sks'"):
        prepare.prepare(run_in(root, sections(root, tom={"identifier": "sks-1"}), "alike"))


def test_a_photo_of_two_subjects_is_refused_unless_captions_tell_them_apart(root: Path, tmp_path: Path) -> None:
    Image.open(root / "rex" / "0.png").save(tmp_path / "same.png")
    tom = {"images": {"path": str(tmp_path)}}
    (tmp_path / "same.png").write_bytes((root / "rex" / "0.png").read_bytes())
    with pytest.raises(InvalidData, match=r"spec.subjects\[2\].images: 'same.png' is also a photo of the subject rex"):
        prepare.prepare(run_in(root, sections(root, tom=tom), "twice"))
    told = {**tom, "captions": {"same.png": "a {identifier} {class} behind a dog"}}
    prepare.prepare(run_in(root, sections(root, tom=told), "told"))


def test_problems_of_photos_name_the_subject(root: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(InvalidData, match=r"spec.subjects\[2\].images: "):
        prepare.prepare(run_in(root, sections(root, tom={"images": {"path": str(tmp_path)}}), "broken"))


def generate(run: RunFolder, output: Path, *arguments: str) -> Any:
    return RUNNER.invoke(app, ["generate", str(run.root), *arguments, "-n", "1", "-o", str(output)])


def test_scenes_name_the_subjects(finished: RunFolder, tmp_path: Path) -> None:
    result = generate(finished, tmp_path, "{rex} and {tom} at sea", "{max}")
    assert result.exit_code == 0, result.output
    names = [Path(line).name for line in result.stdout.splitlines()]
    assert names[:2] == ["sks-dog-and-xyz-cat-at-sea-0000.png", "ohw-dog-0000.png"]
    record = json.loads(next(tmp_path.glob("*-sheet.json")).read_text())
    assert record["identifier"] == "sks, ohw, xyz"


@pytest.mark.parametrize("prompt", ["a {identifier} dog", "a {class}", "{bob}"])
def test_scenes_without_a_known_name_are_refused(finished: RunFolder, tmp_path: Path, prompt: str) -> None:
    result = generate(finished, tmp_path / "none", prompt)
    assert result.exit_code == InvalidConfig.exit_code
    said = " ".join(result.stderr.replace("│", " ").split())
    assert f"PROMPT: '{prompt}' has the unknown placeholder" in said
    assert "Use braces for {rex}, {max} and {tom} only" in said
    assert not (tmp_path / "none").exists()


def test_the_next_run_knows_all_subjects_of_the_base_model(finished: RunFolder, root: Path) -> None:
    config = {**sections(root, tom={"identifier": "ohw"}), "model": {"source": str(finished.model / "diffusers")}}
    config["subjects"][1]["identifier"] = "auto"
    warnings = prepare.prepare(run_in(root, config, "next")).warnings
    assert any(warning.startswith("tom: the identifier 'ohw' means a dog in the base model") for warning in warnings)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_resume_to_the_same_weights(root: Path, method: str) -> None:
    others = {**SLOW, "training": {**SLOW["training"], "method": method, "batchSize": 3}, "tom": {"crop": "none"}}
    whole, first, second = (job(root, f"{name}-{method}", **others) for name in ("whole", "stopped", "killed"))
    assert whole.finish() == 0
    for one in (interrupted(first), killed(second)):
        assert one.finish() == 0
        assert_resumed_to(one, whole)


@pytest.mark.slow
def test_another_subject_is_another_run(root: Path) -> None:
    one = job(root, "other")
    assert one.finish() == 0
    changed = Job(one.folder, sections(root, tom={"name": "tim"}), one.cache)
    assert changed.finish() == InvalidConfig.exit_code
    assert "spec.subjects[2].name: 'tim' differs from the 'tom'" in one.termination["message"]
    alone = settings(root / "model", root / "rex")
    assert Job(one.folder, alone, one.cache).finish() == InvalidConfig.exit_code
    assert "spec.subject" in one.termination["message"]
    assert one.finish() == 0


@pytest.mark.slow
def test_the_command_line_trains_the_embedded_model(tmp_path: Path) -> None:
    write_subjects(tmp_path)
    spec = sections(tmp_path, samples={"prompts": PROMPTS}, prior={"images": 8}, evaluation=EVALUATION)
    spec |= {"model": {"source": "embedded://emoji"}, "training": {"steps": 4, "batchSize": 2, "stopping": "best"}}
    for one in spec["subjects"]:
        one["images"]["path"] = Path(one["images"]["path"]).name
    spec["subjects"][2]["mask"] = "ignore"
    document = {"apiVersion": "dreambooth.io/v1alpha1", "kind": "DreamBoothJob", "metadata": {"name": "pets"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**document, "spec": spec}))
    run = "import sys; from dreambooth_cli import main; sys.argv = ['dreambooth', *sys.argv[1:]]; main()"
    command = ["-c", run, "run", str(tmp_path / "job.yaml"), "--output", str(tmp_path / "run")]
    for _ in range(2):
        code, said = finish(command, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert code == 0, said
    result = read_result(tmp_path / "run" / "result.json")
    assert result.subjects is not None and [one.name for one in result.subjects] == ["rex", "max", "tom"]
    assert result.class_images == 16
    generated = {json.loads(path.read_text())["prompt"] for path in (tmp_path / "cache").rglob("settings.json")}
    assert generated == {"a dog", "a cat", ""}
