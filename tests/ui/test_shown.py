"""What the page shows, as pure functions."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dreambooth_api.job import KIND
from dreambooth_api.training import TrainConfig
from dreambooth_client.seen import Seen
from dreambooth_ui.shown import html, job, photos, plan, samples, scene
from dreambooth_ui.shown.difference import differing, side_by_side
from dreambooth_ui.shown.form import Form
from dreambooth_ui.shown.photos import Crop

MARKUP = "<img src=x onerror=alert(1)>"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt;"
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SPEC = {
    "model": {"source": "embedded://emoji"},
    "subject": {"class": "dog", "images": {"path": "photos"}},
    "training": {"steps": 100, "method": "lora"},
}
FORM = Form(("a.jpg",), "dog", "", "embedded://emoji", "lora", 400, None, None, "center", "", 0, 0, 0, 0, 0, "", True)


def seen(phase: str, spec: Mapping[str, Any] = SPEC, name: str = "rex", **status: Any) -> Seen:
    """A job as a place has it."""
    metadata = {"name": name, "creationTimestamp": (NOW - timedelta(minutes=5)).isoformat()}
    return Seen({"kind": KIND, "metadata": metadata, "spec": spec, "status": {"phase": phase, **status}})


def test_all_text_is_escaped() -> None:
    shown = (
        html.table((MARKUP,), [(MARKUP,)]),
        html.bullets([MARKUP], "warnings"),
        html.paragraph(MARKUP),
        job.heading(seen("Failed", name=MARKUP, message=MARKUP, progress={"warnings": [MARKUP]})),
        job.settings(seen("Running", {**SPEC, "model": {"source": MARKUP}})),
        scene.state(seen("Failed", message=MARKUP)),
    )
    for one in shown:
        assert "<img" not in one and ESCAPED in one


def test_a_document_stays_in_its_frame() -> None:
    framed = html.document('<h1 class="x">Report</h1>"><script>alert(1)</script>')
    assert framed.startswith('<iframe class="shown" sandbox="" srcdoc="&lt;h1')
    assert "<script" not in framed and framed.count('"') == 6


def test_control_characters_are_shown_as_escapes() -> None:
    assert html.text("a\x1b[31m\nb") == "a\\x1b[31m<br>b"


@pytest.mark.parametrize(
    ("size", "crop", "box"),
    [
        ((512, 512), "center", (0, 0, 512, 512)),
        ((800, 400), "center", (200, 0, 600, 400)),
        ((400, 800), "center", (0, 200, 400, 600)),
        ((800, 400), "none", (0, 0, 800, 400)),
        ((1200, 400), "none", (200, 0, 1000, 400)),
    ],
)
def test_the_box_is_the_part_that_a_training_uses(
    size: tuple[int, int], crop: Crop, box: tuple[int, int, int, int]
) -> None:
    assert photos.box_of(size, crop) == box


def test_a_preview_is_dark_where_the_training_sees_nothing() -> None:
    shown = photos.preview(Image.new("RGB", (1000, 500), "white"), "center")
    assert shown.size == (480, 240)
    assert shown.getpixel((60, 120)) == (76, 76, 76)
    assert shown.getpixel((240, 120)) == (255, 255, 255)


def test_files_that_are_no_photos_have_no_preview(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no photo")
    Image.new("RGB", (64, 32)).save(tmp_path / "photo.png")
    shown = photos.previews([tmp_path / "notes.jpg", tmp_path / "photo.png"], "center")
    assert [caption for _, caption in shown] == ["photo.png: 64x32"]


def test_a_form_that_is_left_as_it_is_sets_nothing_but_what_it_shows() -> None:
    assert FORM.arguments() == {
        "photos": [Path("a.jpg")],
        "class_": "dog",
        "name": None,
        "model": "embedded://emoji",
        "method": "lora",
        "runtime": None,
        "settings": {"subject": {"crop": "center"}, "training": {"steps": 400}},
    }


def test_each_field_of_a_form_is_a_field_of_the_manifest() -> None:
    form = FORM._replace(
        name=" rex ",
        runtime="small",
        gpus=0,
        crop="none",
        identifier=" sks ",
        class_images=20,
        batch_size=2,
        learning_rate=1e-4,
        resolution=256,
        every_steps=50,
        prompts="a {identifier} {class}\n\n a {class}  ",
        evaluate=False,
    )
    arguments = form.arguments()
    assert (arguments["name"], arguments["runtime"]) == ("rex", "small")
    settings = arguments["settings"]
    assert settings.pop("resources") == {"gpusPerNode": 0}
    config = TrainConfig.model_validate(
        {"model": {"source": "embedded://emoji"}}
        | settings
        | {"subject": settings["subject"] | {"class": "dog", "images": {"path": "photos"}}}
    )
    assert config.subject and (config.subject.crop, config.subject.identifier) == ("none", "sks")
    assert config.prior.images == 20 and not config.evaluation.enabled
    assert (config.training.batch_size, config.training.learning_rate, config.training.resolution) == (2, 1e-4, 256)
    assert (config.samples.every_steps, config.samples.prompts) == (50, ["a {identifier} {class}", "a {class}"])


@pytest.mark.parametrize(
    ("form", "missing"),
    [(FORM, ""), (FORM._replace(photos=None), "three to five photos"), (FORM._replace(class_=None), "a class")],
)
def test_a_form_says_what_it_needs_first(form: Form, missing: str) -> None:
    assert missing in form.missing and bool(form.missing) == bool(missing)


def test_the_row_of_a_job() -> None:
    progress = {"phase": "train", "step": 25, "totalSteps": 100, "percent": 30, "loss": 0.25, "etaSeconds": 300}
    running = job.row(seen("Running", progress=progress), NOW)
    assert running == ["rex", "Running", "30 %", "25/100 steps", "0.25", "5m", "5m", ""]
    waiting = job.row(seen("Pending", message="waits for a GPU"), NOW)
    assert waiting == ["rex", "Pending", "", "", "", "", "5m", "waits for a GPU"]
    assert len(running) == len(job.HEADER)


def test_figures_are_shown_with_their_goals() -> None:
    shown = job.figures({"subjShare": 0.85, "keep": 0.5, "presBefore": 0.1})
    assert "<td>0.850</td><td>≥ 0.8 ✓</td>" in shown and "<td>0.500</td><td>≥ 0.95 ✗</td>" in shown
    assert job.figures({}) == ""


@pytest.mark.parametrize(("steps", "points"), [(1, 1), (300, 300), (1000, 250)])
def test_loss_curves_have_few_points(steps: int, points: int) -> None:
    line: Any = {"priorLoss": 0.0, "learningRate": 1e-4, "gradNorm": 1.0}
    curve = job.curve([{**line, "step": step, "loss": float(step)} for step in range(1, steps + 1)])
    assert len(curve["step"]) == points and curve["step"][-1] == steps
    assert set(curve["curve"]) == {"photos"}
    assert sum(curve["loss"]) / points == pytest.approx((steps + 1) / 2)


def test_pictures_on_the_way_are_shown_newest_first(tmp_path: Path) -> None:
    for step in (100, 20):
        for number in (0, 1):
            file = tmp_path / "samples-on-the-way" / f"step-{step:08d}" / f"{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    assert [caption for _, caption in job.on_the_way(tmp_path)] == ["step 100", "step 100", "step 20", "step 20"]


def result(identifier: str, *prompts: str) -> dict[str, Any]:
    """What `result.json` has of the samples."""
    return {"identifier": identifier, "class": "dog", "settings": {"samples": {"prompts": prompts, "perPrompt": 2}}}


def with_samples(folder: Path, count: int) -> Path:
    """A run with pictures of some prompts, two of each."""
    (folder / "samples").mkdir(parents=True)
    for row in range(count):
        for seed in range(2):
            (folder / "samples" / f"{row:02d}-after-{seed:02d}.png").touch()
    return folder


def test_samples_have_their_prompts_and_seeds(tmp_path: Path) -> None:
    found = samples.samples_of(result("sks", "a {identifier} {class}"), with_samples(tmp_path, 1))
    assert [caption for _, caption in samples.captioned(found)] == ["a sks dog, seed 0", "a sks dog, seed 1"]


def test_with_several_subjects_each_has_samples(tmp_path: Path) -> None:
    of_both = result("sks, lf", "a {identifier} {class}", "{rex} and {tom}")
    of_both["subjects"] = [
        {"name": "rex", "class": "dog", "identifier": "sks"},
        {"name": "tom", "class": "cat", "identifier": "lf"},
    ]
    found = samples.samples_of(of_both, with_samples(tmp_path, 3))
    assert [one.prompt for one in found[::2]] == ["a sks dog", "a lf cat", "sks dog and lf cat"]


def test_pictures_of_two_jobs_are_paired_by_prompt_and_seed(tmp_path: Path) -> None:
    one = samples.samples_of(result("sks", "a {identifier}", "a {class}"), with_samples(tmp_path / "one", 2))
    other = samples.samples_of(result("lf", "a ball", "a {identifier}"), with_samples(tmp_path / "other", 2))
    pairs = [(first.prompt, first.seed, second.prompt, second.seed) for first, second in samples.in_common(one, other)]
    assert pairs == [("a sks", 0, "a lf", 0), ("a sks", 1, "a lf", 1)]


def test_a_job_without_a_result_has_no_samples(tmp_path: Path) -> None:
    assert samples.samples_of(samples.result_in(tmp_path), tmp_path) == []


def test_settings_differ_by_what_they_mean() -> None:
    explicit = {**SPEC, "training": {"steps": 200, "method": "lora", "batchSize": 1}}
    assert differing(SPEC, explicit) == [("training.steps", "100", "200")]


def test_settings_of_another_version_are_compared_as_they_are() -> None:
    assert differing({"training": {"new": 1}}, {"training": {"new": 2}}) == [("training.new", "1", "2")]


def test_figures_of_two_jobs_are_shown_side_by_side() -> None:
    assert side_by_side({"keep": 0.9}, {"keep": None, "follow": 1.0}) == [
        ("KEEP", "0.900", "-"),
        ("FOLLOW", "-", "1.000"),
    ]


def test_the_time_of_the_steps_is_that_of_a_like_job() -> None:
    full = {**SPEC, "training": {"steps": 100, "method": "full"}}
    progress = {"stepsPerSecond": 2.0}
    like = seen("Complete", progress=progress)
    assert "100 steps take about 50 s, as fast as those of rex" in plan.time(SPEC, [seen("Running"), like])
    assert plan.time(full, [like]) == "" and plan.time(SPEC, [seen("Running")]) == ""


def test_pictures_of_a_scene_have_their_prompts_and_seeds(tmp_path: Path) -> None:
    (tmp_path / "beach.json").write_text(json.dumps({"prompt": MARKUP, "seed": 7}))
    (tmp_path / "scene.json").write_text(json.dumps({"pictures": []}))
    files = [tmp_path / "beach.png", tmp_path / "scene.png", tmp_path / "foreign.png"]
    assert scene.captioned(files) == [(tmp_path / "beach.png", f"{MARKUP}, seed 7")]
