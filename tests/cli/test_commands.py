"""Tests of the command `dreambooth`, in this process and as a separate one."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from dreambooth_api.failures import ModelUnavailable, StorageUnavailable
from dreambooth_api.scene import Scene
from dreambooth_api.training import TrainConfig
from dreambooth_cli import app
from dreambooth_trainer import embedded
from dreambooth_trainer.process.records import Records
from dreambooth_trainer.run import default_cache
from tests.trainer.data.scenes import scene

RUNNER = CliRunner()

MANIFEST = """
apiVersion: dreambooth.io/v1alpha1
kind: DreamBoothJob
metadata: {name: rex}
spec:
  model: {source: "embedded://emoji"}
  subject: {class: dog, images: {path: photos}}
  training: {steps: 10}
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "1.png")
    (tmp_path / "job.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "job.yaml"


def spoil(manifest: Path) -> None:
    """Adds two mistakes to a manifest and one to its photos."""
    manifest.write_text(MANIFEST.replace("10", "0").replace("rex", "Rex"))
    (manifest.parent / "photos" / "[b]notes.txt").write_text("not markup")


class FakeTraining(ModuleType):
    """Stands for `dreambooth_trainer.job`, whose runs take minutes."""

    def __init__(self) -> None:
        """Starts with an empty list of calls."""
        super().__init__("dreambooth_trainer.job")
        self.calls: list[tuple[TrainConfig, Path, dict[str, Any]]] = []

    def run_job(self, config: TrainConfig, output: Path, **options: Any) -> int:
        """Records the call and ends as an interrupted run does."""
        self.calls.append((config, output, options))
        return 9


class FakeDrawing(ModuleType):
    """Stands for `dreambooth_trainer.scene`, which would load a model."""

    def __init__(self) -> None:
        """Starts with an empty list of calls."""
        super().__init__("dreambooth_trainer.scene")
        self.calls: list[tuple[dict[str, Any], Path, Path]] = []

    def run_scene(
        self, scene: Scene, run: Path, output: Path, *, written: Callable[[Path], None], **options: Any
    ) -> int:
        """Records the call and reports two pictures."""
        self.calls.append((scene.model_dump(exclude_defaults=True), run, output))
        written(Path("1.png"))
        if scene.prompts == ["fail"]:
            options["console"].print(f"{options['field_names']['spec.prompts[0]']} fails")
            return ModelUnavailable.exit_code
        written(Path("2.png"))
        return 0


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> FakeTraining:
    fake = FakeTraining()
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return fake


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> FakeDrawing:
    fake = FakeDrawing()
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return fake


def test_validate_reports_a_valid_manifest(manifest: Path) -> None:
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "job.yaml is valid: rex, a dog on embedded://emoji, 10 steps of all weights, 200 class images"
    ]
    assert result.stderr == ""


def test_validate_names_each_of_several_subjects(manifest: Path) -> None:
    document = yaml.safe_load(manifest.read_text())
    subject = document["spec"].pop("subject")
    subjects = [{**subject, "name": "rex"}, {**subject, "name": "tom", "class": "cat", "images": {"path": "toms"}}]
    subjects[1]["identifier"] = "auto"
    Path("toms").mkdir()
    Image.new("RGB", (64, 64), "blue").save("toms/1.png")
    manifest.write_text(yaml.safe_dump({**document, "spec": {**document["spec"], "subjects": subjects}}))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0, result.output
    assert "rex, the dog rex and the cat tom on embedded://emoji" in result.stdout
    assert "400 class images" in result.stdout


def test_validate_prints_every_problem(manifest: Path) -> None:
    spoil(manifest)
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert result.stdout == ""
    head, *problems = result.stderr.splitlines()
    assert head == "job.yaml has 3 problems:"
    assert [problem.split(":")[0].strip() for problem in problems] == [
        "metadata.name",
        "spec.training.steps",
        "spec.subject.images",
    ]
    assert "0 should be greater than or equal to 1. Give a whole number, at least 1, at most 1000000." in problems[1]
    assert "[b]notes.txt' is no picture" in problems[2]


def test_validate_prints_warnings(manifest: Path) -> None:
    Image.new("RGB", (64, 64)).save("photos/2.png")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert "warning: 2.png shows the same picture as 1.png" in result.stderr


STRAYS = "Thumbs.db", ".DS_Store", "desktop.ini", "._1.png", "1.AAE", "1.MOV", "1.xmp", "1.json"


def test_what_systems_and_phones_put_next_to_photos_is_skipped(manifest: Path, training: FakeTraining) -> None:
    for name in STRAYS:
        Path("photos", name).write_bytes(b"\x00\x05\x16\x07")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: skipped, since they are no photos: ")
    assert set(line.partition(": skipped, since they are no photos: ")[2].split(", ")) == set(STRAYS)
    assert RUNNER.invoke(app, ["run", "job.yaml"]).exit_code == 9 and training.calls


def test_the_photos_may_be_next_to_the_manifest_and_the_runs(manifest: Path) -> None:
    Path("photos/1.png").rename("1.png")
    Path("photos").rmdir()
    Path("runs/rex/photos").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save("runs/rex/photos/01.png")
    manifest.write_text(MANIFEST.replace("path: photos", "path: ."))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert (result.exit_code, result.stderr) == (0, "warning: skipped, since they are no photos: job.yaml\n")


def test_a_home_directory_in_paths(manifest: Path, training: FakeTraining, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(manifest.parent))
    Path("elsewhere").mkdir()
    there = Path("elsewhere/job.yaml")
    there.write_text(MANIFEST.replace("path: photos", "path: ~/photos"))
    assert RUNNER.invoke(app, ["validate", str(there)]).exit_code == 0
    assert RUNNER.invoke(app, ["run", str(there), "--output=~/out", "--cache=~/cache"]).exit_code == 9
    ((config, output, options),) = training.calls
    assert config.subject.images.path == str(manifest.parent / "photos")
    assert (output, options["cache"]) == (manifest.parent / "out", manifest.parent / "cache")


@pytest.mark.parametrize("path", ["~nobody-has-this-name/photos", "~/photos"])
def test_a_home_directory_that_does_not_exist(manifest: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    manifest.write_text(MANIFEST.replace("path: photos", f"path: {path}"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert (result.exit_code, "can't be read: No such file or directory" in result.stderr) == (2, True)


def test_a_folder_in_the_form_of_another_program(manifest: Path) -> None:
    Path("train/10_sks dog").mkdir(parents=True)
    Path("photos/1.png").rename("train/10_sks dog/1.png")
    manifest.write_text(MANIFEST.replace("path: photos", "path: train"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "10 repeats, identifier 'sks', class 'dog'" in result.stderr
    manifest.write_text(MANIFEST.replace("path: photos", "path: train/10_sks dog"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert "Set subject.identifier to 'sks' and subject.class to 'dog'" in result.stderr
    manifest.write_text(manifest.read_text().replace("class: dog", "class: dog, identifier: sks"))
    assert RUNNER.invoke(app, ["validate", "job.yaml"]).stderr == ""


def test_raw_files_are_refused(manifest: Path) -> None:
    Image.new("RGB", (160, 120)).save("photos/2.dng", "TIFF")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "2.dng' is a raw file, of which only a small preview could be read. Export it as JPEG" in result.stderr


def test_validate_says_what_the_training_would_learn_besides_the_subject(manifest: Path) -> None:
    scene(1, (1600, 400)).save("photos/2.jpg")
    scene(2).filter(ImageFilter.GaussianBlur(5)).save("photos/3.jpg")
    scene(3).save("photos/4.jpg")
    scene(3).resize((700, 700)).save("photos/5.jpg")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert [line.partition(": ")[2][:30] for line in result.stderr.splitlines()] == [
        "2.jpg is 1600x400, and its mid",
        "3.jpg looks blurred, and the m",
        "5.jpg shows almost the same as",
    ]


def test_validate_names_the_remedy_for_photos_of_which_much_is_cut(manifest: Path) -> None:
    scene(1, (400, 1000)).save("photos/2.jpg")
    cut = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert "its middle square, which is used, is only 40% of it. Crop it around the subject, or set subject.crop" in (
        " ".join(cut.stderr.split())
    )
    manifest.write_text(MANIFEST.replace("class: dog", "class: dog, crop: none"))
    whole = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert (whole.exit_code, whole.stderr) == (0, "")
    scene(1, (400, 2000)).save("photos/2.jpg")
    longer = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert "only 40% of it is used: training pictures are at most 2 times as long as wide" in (
        " ".join(longer.stderr.split())
    )


def test_captions_are_checked(manifest: Path, training: FakeTraining) -> None:
    Path("photos/1.txt").write_text("a dog on a sofa")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "spec.subject.images, 1.txt: 'a dog on a sofa' has no {identifier}, so that" in result.stderr
    Path("photos/1.txt").write_text("a {identifier} {class} on a sofa")
    assert RUNNER.invoke(app, ["run", "job.yaml"]).exit_code == 9
    manifest.write_text(MANIFEST.replace("class: dog", "class: dog, captions: {1.png: a dog, 2.png: 3}"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "spec.subject.captions.1.png: 'a dog' has no {identifier}" in result.stderr
    assert "spec.subject.captions.2.png: 3 should be a valid string" in result.stderr


LONG = "on the beach at night " * 10


@pytest.mark.parametrize(
    ("old", "new", "field", "lost"),
    [
        ("{class: dog", f"{{prompt: '{LONG}a {{identifier}} {{class}}', class: dog", "subject.prompt", "'dog'"),
        ("{class: dog", f"{{captions: {{1.png: '{LONG}a {{identifier}}'}}, class: dog", "subject.images", "'"),
        ("training:", f"prior: {{prompt: '{LONG}a {{class}}'}}\n  training:", "prior.prompt", "'dog'"),
        ("training:", f"samples: {{prompts: [a cat, '{LONG}a dog']}}\n  training:", "samples.prompts[1]", "'dog'"),
        (
            "training:",
            f"evaluation: {{otherClasses: [cat, {'q x' * 20}]}}\n  training:",
            "evaluation.otherClasses[1]",
            "'q x",
        ),
    ],
)
def test_validate_refuses_prompts_that_lose_identifier_or_class(
    manifest: Path, training: FakeTraining, old: str, new: str, field: str, lost: str
) -> None:
    (manifest.parent / "photos" / "notes").write_text("no picture")
    manifest.write_text(MANIFEST.replace(old, new))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    _, photo, prompt = result.stderr.splitlines()
    assert (result.exit_code, "notes" in photo) == (2, True)
    assert prompt.startswith(f"  spec.{field}")
    assert "is longer than the text encoder reads, and loses '" in prompt
    assert lost in prompt
    assert (RUNNER.invoke(app, ["run", "job.yaml"]).exit_code, training.calls) == (2, [])


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("{class: dog", f"{{prompt: 'a {{identifier}} {{class}} {LONG}', class: dog", "subject.prompt"),
        ("training:", f"prior: {{prompt: 'a {{class}} {LONG}'}}\n  training:", "prior.prompt"),
        ("training:", f"samples: {{prompts: [a cat, '{LONG}']}}\n  training:", "samples.prompts[1]"),
        ("training:", f"evaluation: {{contexts: [at sea, {'q x' * 20}]}}\n  training:", "evaluation.contexts[1]"),
        (
            "images: {path: photos}",
            f"captions: {{1.png: 'a {{identifier}} {LONG}'}}, images: {{image: {{reference: x}}}}",
            "",
        ),
    ],
)
def test_validate_names_what_is_cut_off_of_prompts(manifest: Path, old: str, new: str, field: str) -> None:
    manifest.write_text(MANIFEST.replace(old, new))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert result.stderr.startswith(
        f"warning: spec.{field or 'subject.images, caption of 1.png'}: the text encoder cuts off "
    )


def test_validate_names_better_words_for_the_class(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("class: dog", "class: dgo"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("warning: the base model hardly knows the class word 'dgo'")
    assert warning.endswith("such as dog")


def test_validate_reports_that_no_word_can_be_the_identifier(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("{class: dog", "{prompt: 'a {identifier}ish {class}', class: dog"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "spec.subject.identifier: 'auto' finds no word that stays one token inside subject.prompt" in result.stderr


@pytest.fixture
def dogs(manifest: Path) -> Path:
    """A folder with three class images, which the manifest names."""
    folder = manifest.parent / "dogs"
    folder.mkdir()
    for number in range(3):
        scene(number, (64, 64)).save(folder / f"{number}.png")
    manifest.write_text(f"{MANIFEST}  prior: {{source: {{path: dogs}}, images: 6}}\n")
    return folder


def test_own_class_images_are_checked(manifest: Path, dogs: Path, training: FakeTraining) -> None:
    (dogs / "notes").write_text("no picture")
    scene(9, (20, 90)).save(dogs / "small.png")
    manifest.write_text(manifest.read_text().replace("steps: 10", "resolution: 128"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    _, notes, small = result.stderr.splitlines()
    assert result.exit_code == 2
    assert notes.startswith("  spec.prior.source: '")
    assert "dogs/notes' is no picture" in notes
    assert "is only 20x90 for a training resolution of 128" in small
    (dogs / "notes").unlink()
    (dogs / "small.png").unlink()
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert (result.exit_code, "own" in result.stderr) == (0, False)
    assert RUNNER.invoke(app, ["run", "job.yaml"]).exit_code == 9
    ((config, _, _),) = training.calls
    assert config.prior.source is not None
    assert config.prior.source.path == str(dogs)


def test_warnings_about_own_class_images(manifest: Path, dogs: Path) -> None:
    scene(9, (64, 64)).save(dogs / "another.png")
    (dogs / "0.txt").write_text("a dog on a sofa")
    (dogs / "Thumbs.db").write_text("")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert (result.exit_code, result.stderr.splitlines()) == (
        0,
        [
            "warning: prior.source: skipped, since they are no photos: Thumbs.db",
            "warning: prior.source: captions and masks are not used: class images have prior.prompt",
            "warning: prior.source: only 3 of 4 pictures are used, because prior.images is 6, of which 3 are generated with the "
            "empty prompt. Raise prior.images, or lower prior.unconditionalShare",
        ],
    )


def test_photos_of_the_subject_are_no_class_images(manifest: Path, dogs: Path) -> None:
    shutil.copy("photos/1.png", dogs / "rex.png")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "  spec.prior.source: '" in result.stderr
    assert (
        "dogs' has photos of the subject: rex.png. Class images show other members of the class. Remove"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("path: cats", "can't be read: No such file or directory"),
        ("path: photos/..", "holds no photo itself, but in sub-folders: dogs, photos"),
        ("path: empty", "holds no photo. Put pictures of the class, but not of the subject, there"),
        ("image: {reference: x}, path: dogs", "has several sources of the class images"),
    ],
)
def test_wrong_places_of_class_images(manifest: Path, dogs: Path, source: str, message: str) -> None:
    (manifest.parent / "empty").mkdir()
    manifest.write_text(manifest.read_text().replace("path: dogs", source))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert (result.exit_code, "spec.prior.source: " in result.stderr, message in result.stderr) == (2, True, True)


def test_run_needs_the_class_images_on_this_machine(manifest: Path, dogs: Path, training: FakeTraining) -> None:
    manifest.write_text(manifest.read_text().replace("path: dogs", "persistentVolumeClaim: {claimName: dogs}"))
    assert RUNNER.invoke(app, ["validate", "job.yaml"]).exit_code == 0
    result = RUNNER.invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 2
    assert "spec.prior.source: 'persistentVolumeClaim' is only at hand in the cluster" in result.stderr


def test_masks_are_checked(manifest: Path, training: FakeTraining) -> None:
    scene(1, (90, 60)).save("photos/2.jpg")
    Image.new("L", (90, 60), 255).save("photos/2.mask.png")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert "warning: masks are not used: 2.mask.png. Set subject.mask to loss" in result.stderr
    manifest.write_text(MANIFEST.replace("class: dog", "class: dog, mask: loss"))
    result = RUNNER.invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 9
    assert result.stderr == "warning: photos without a mask are learned with their background: 1.png\n"
    Image.new("L", (60, 90), 255).save("photos/2.mask.png")
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 2
    assert "2.jpg' is 90x60, but its mask 60x90. Save the mask in the size of the photo." in result.stderr


def test_run_hands_the_settings_to_the_trainer(manifest: Path, training: FakeTraining) -> None:
    result = RUNNER.invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 9
    ((config, output, options),) = training.calls
    assert config.subject.images.path == str(manifest.parent / "photos")
    assert output == Path("runs/rex")
    records = Records.of(output)
    kept = {"termination_log": records.ending, "progress_log": records.progress}
    assert options == {"cache": default_cache(), "port": None, **kept}


def test_run_takes_options(manifest: Path, training: FakeTraining) -> None:
    RUNNER.invoke(app, ["run", "job.yaml", "-o", "out", "--cache", "shared", "--port", "8080"])
    ((_, output, options),) = training.calls
    assert output == Path("out")
    assert (options["cache"], options["port"]) == (Path("shared"), 8080)


def test_a_user_without_a_home_has_the_cache_in_the_output(
    manifest: Path, training: FakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert RUNNER.invoke(app, ["run", "job.yaml", "-o", "out"]).exit_code == 9
    ((_, _, options),) = training.calls
    assert options["cache"] == Path("out/.cache")


def test_run_refuses_a_wrong_manifest(manifest: Path, training: FakeTraining) -> None:
    spoil(manifest)
    result = RUNNER.invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 2
    assert "job.yaml has 3 problems:" in result.stderr
    assert training.calls == []


UPLOADED = "{upload: {to: s3://results/rex, secret: {name: store}}}"
ONLINE = "{wandb: {project: dogs, mode: online, apiKeySecret: {name: wandb}}}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("path: photos", "configMap: {name: photos}", "'configMap' is only at hand in the cluster"),
        ("path: photos", "image: {reference: photos}", "'image' is only at hand in the cluster"),
        ("embedded://emoji", "pvc://models/sd", "'pvc://models/sd' is only at hand in the cluster"),
        ('"embedded://emoji"', "'hf://a/b', tokenSecret: {name: hub}", "variable HF_TOKEN"),
        ("spec:", f"spec:\n  monitoring: {ONLINE}", "WANDB_API_KEY"),
        ("spec:", f"spec:\n  output: {UPLOADED}", "the credentials into environment variables"),
    ],
)
def test_run_needs_everything_on_this_machine(
    manifest: Path, training: FakeTraining, old: str, new: str, words: str
) -> None:
    manifest.write_text(MANIFEST.replace(old, new))
    assert RUNNER.invoke(app, ["validate", "job.yaml"]).exit_code == 0
    result = RUNNER.invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 2
    assert words in result.stderr
    assert training.calls == []


def test_a_library_that_is_missing_is_a_warning_before_pods_have_it_and_an_error_here(
    manifest: Path, training: FakeTraining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreambooth_trainer.extras.find_spec", lambda _: None)
    manifest.write_text(MANIFEST.replace("spec:", "spec:\n  monitoring: {tensorboard: true}"))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code == 0
    assert "warning: spec.monitoring.tensorboard" in result.stderr and "--extra tensorboard" in result.stderr
    result = RUNNER.invoke(app, ["run", "job.yaml"])
    assert result.exit_code == 2
    assert "--extra tensorboard" in result.stderr
    assert training.calls == []


def test_generate_needs_a_folder_that_it_can_write_to(tmp_path: Path, drawing: FakeDrawing) -> None:
    (tmp_path / "COMPLETE").touch()
    result = RUNNER.invoke(app, ["generate", str(tmp_path), "a cat", "-o", str(tmp_path / "COMPLETE" / "new")])
    assert result.exit_code == StorageUnavailable.exit_code
    assert "--output: " in result.stderr and "can't be written to" in result.stderr
    assert drawing.calls == []


def test_generate_writes_pictures_of_a_finished_run(
    tmp_path: Path, drawing: FakeDrawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "COMPLETE").touch()
    result = RUNNER.invoke(app, ["generate", str(tmp_path), "a {identifier} {class}", "a cat"])
    assert (result.exit_code, result.stdout.split(), result.stderr) == (0, ["1.png", "2.png"], "")
    monkeypatch.setenv("HOME", str(tmp_path))
    options = ["-n", "2", "--seed", "5", "--steps", "9", "--guidance-scale", "2", "--output=~/new", "--step", "3"]
    more = ["--negative-prompt", "a hat", "--scheduler", "ddim", "--size", "128x64", "--adapter-scale", "0.5"]
    assert RUNNER.invoke(app, ["generate", str(tmp_path), "a cat", *options, *more]).exit_code == 0
    asked = {"prompts": ["a {identifier} {class}", "a cat"], "per_prompt": 8}
    scene = {
        "prompts": ["a cat"],
        "per_prompt": 2,
        "seed": 5,
        "negative_prompt": "a hat",
        "adapter_scale": 0.5,
        "step": 3,
    }
    scene["sampler"] = {"scheduler": "ddim", "steps": 9, "guidance_scale": 2.0}
    scene["size"] = {"width": 128, "height": 64}
    assert drawing.calls == [(asked, tmp_path, tmp_path / "generated"), (scene, tmp_path, tmp_path / "new")]


@pytest.mark.parametrize(
    ("folder", "prompt", "code", "words"),
    [
        ("nowhere", "a dog", 2, "does not exist"),
        (".", "a dog", 2, "is no folder of a run"),
        ("run", "a {Klass}", 2, "PROMPT: 'a {Klass}' has the unknown placeholder {Klass}"),
        ("run", "fail", 4, "PROMPT fails"),
    ],
)
def test_generate_explains_problems(
    tmp_path: Path, drawing: FakeDrawing, folder: str, prompt: str, code: int, words: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "COMPLETE").touch()
    result = RUNNER.invoke(app, ["generate", str(tmp_path / folder), prompt])
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_version() -> None:
    assert RUNNER.invoke(app, ["--version"]).stdout.startswith("dreambooth 0.")


def process(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def test_a_real_process_validates_fast_and_without_torch(manifest: Path) -> None:
    code = "import sys; from dreambooth_cli import app; app(['validate', 'job.yaml'], standalone_mode=False); "
    heavy = process(
        "-c", code + "print([name for name in ('torch', 'transformers', 'diffusers') if name in sys.modules])"
    )
    assert heavy.stdout.splitlines()[-1] == "[]"

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = process("-c", "from dreambooth_cli import main; main()", "validate", "job.yaml")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (result.returncode, result.stderr) == (0, "")
    # It takes about a second of processor time, or two without compiled modules; torch alone takes longer than this limit.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_a_real_process_exits_with_2(manifest: Path) -> None:
    spoil(manifest)
    result = process("-c", "from dreambooth_cli import main; main()", "validate", "job.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert "spec.training.steps" in result.stderr


CONTROLS = "\x1b[2J[red]\u202e"
"""A control sequence that clears a terminal, markup of rich, and a character that reverses the text direction."""


def test_the_identifier_of_an_earlier_run_is_named(manifest: Path) -> None:
    shutil.copytree(embedded.path("emoji") / "pipeline", "runs/rex/model/diffusers", symlinks=False)
    result = {"identifier": "xyz", "class": "dog", "settings": {"model": {"source": "embedded://emoji"}}}
    Path("runs/rex/result.json").write_text(json.dumps(result))
    manifest.write_text(MANIFEST.replace('"embedded://emoji"', "runs/rex/model/diffusers"))
    validated = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert validated.exit_code == 0
    assert "set subject.identifier to xyz" in validated.stderr
    manifest.write_text(manifest.read_text().replace("{class: dog", "{class: cat, identifier: xyz"))
    assert "'xyz' means a dog in the base model" in RUNNER.invoke(app, ["validate", "job.yaml"]).stderr


def is_plain(output: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in output)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class: dog", f"class: {json.dumps('a' + CONTROLS)}"),
        ("steps: 10", f"steps: {json.dumps(CONTROLS)}"),
        ("steps: 10", f"{json.dumps(CONTROLS)}: 10"),
        ("spec:", f"spec:\n  samples: {{prompts: [{json.dumps('a {' + CONTROLS + '}')}]}}"),
        ("path: photos", f"path: {json.dumps(CONTROLS)}"),
        ('"embedded://emoji"', json.dumps(CONTROLS)),
        ("spec:", f"{json.dumps('spec' + CONTROLS)}:"),
        ("name: rex", f"name: {json.dumps(CONTROLS)}"),
    ],
)
def test_control_characters_in_manifests_are_escaped(
    manifest: Path, training: FakeTraining, old: str, new: str
) -> None:
    assert old in MANIFEST
    manifest.write_text(MANIFEST.replace(old, new))
    result = RUNNER.invoke(app, ["validate", "job.yaml"])
    assert result.exit_code in (0, 2)
    assert r"\x1b[2J[red]" in result.output
    assert is_plain(result.output + RUNNER.invoke(app, ["run", "job.yaml"]).output)


def test_control_characters_in_file_names_are_escaped(manifest: Path) -> None:
    other = Path("job" + CONTROLS + "\n.yaml")
    other.write_text(MANIFEST)
    Image.new("RGB", (64, 64)).save(f"photos/2{CONTROLS}\n.png")
    Image.new("RGB", (64, 64)).save(os.fsencode("photos/3") + b"\xff.png", "PNG")
    result = RUNNER.invoke(app, ["validate", str(other)])
    assert (result.exit_code, len(result.stderr.splitlines()), len(result.stdout.splitlines())) == (0, 2, 1)
    assert is_plain(result.output)
    Path("photos/notes" + CONTROLS).write_text("no picture")
    result = RUNNER.invoke(app, ["validate", str(other)])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 2)
    assert is_plain(result.output)
    assert "[red]" in result.stderr
