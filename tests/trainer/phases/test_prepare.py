"""Tests of dreambooth_trainer.phases.prepare with the embedded model."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dreambooth_api.failures import InvalidConfig, InvalidData
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.data.identifier import FAINT
from dreambooth_trainer.data.personalised import KnownSubject
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import prepare
from dreambooth_trainer.phases.prepare import Prepared
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import Run, RunFolder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "given"
    folder.mkdir()
    Image.new("RGB", (100, 80), "red").save(folder / "b.jpg")
    Image.new("RGB", (60, 60), "blue").save(folder / "a.png")
    return folder


def run_of(photos: Path, *, rank: int = 0, training: Any = None, **subject: Any) -> Run:
    config = {
        "model": {"source": "embedded://emoji"},
        "subject": {"class": "dog", "images": {"path": str(photos)}, **subject},
        "training": training or {},
    }
    distributed = Distributed(rank=rank, size=rank + 1)
    folder = RunFolder(photos.parent / "run")
    return Run(TrainConfig.model_validate(config), folder, photos.parent / "cache", distributed, Progress())


def test_photos_and_identifier_are_settled(photos: Path) -> None:
    run = run_of(photos)
    prepared = prepare.prepare(run)
    assert [(photo.file, photo.source, photo.width, photo.height) for photo in prepared.photos] == [
        ("01.png", "a.png", 60, 60),
        ("02.png", "b.jpg", 100, 80),
    ]
    written = [Image.open(path) for path in sorted(run.folder.photos.iterdir())]
    assert [(image.format, image.mode, image.size) for image in written] == [("PNG", "RGB", (64, 64))] * 2
    assert written[0].getpixel((9, 9)) == (0, 0, 255)
    assert prepared.findings[0].source == "auto"
    assert run.model.words_to_ids(prepared.identifiers[0]) == list(prepared.findings[0].tokens)
    assert prepared.warnings[0] == "a.png is 60x60 and is enlarged to 64x64"
    assert Prepared.model_validate_json(prepared.model_dump_json()) == prepared
    snapshot = run.progress.snapshot()
    assert (snapshot.phase, snapshot.phases[0].state) == ("prepare", "done")


def test_a_given_identifier_is_kept_and_the_finding_is_reported(photos: Path) -> None:
    prepared = prepare.prepare(run_of(photos, identifier="sks"))
    assert (prepared.identifiers[0], prepared.findings[0].source, len(prepared.findings[0].tokens)) == (
        "sks",
        "given",
        2,
    )
    assert any("is 2 tokens" in warning for warning in prepared.warnings)


def test_tokens_that_the_text_encoder_never_saw_reach_less_than_known_ones(photos: Path) -> None:
    model = run_of(photos).model
    reach = {word: prepare.reach_of(word, model, "a {identifier} dog") for word in ("lf", "ws", "sks", "red", "cat")}
    assert max(reach["lf"], reach["ws"]) < FAINT < min(reach["sks"], reach["red"], reach["cat"])


@pytest.mark.parametrize(("trained", "warned"), [(False, True), (True, False)])
def test_a_weak_identifier_is_reported_if_the_text_encoder_is_not_trained(
    photos: Path, trained: bool, warned: bool
) -> None:
    finding = prepare.prepare(run_of(photos, identifier="lf", training={"trainTextEncoder": trained})).findings[0]
    assert finding.reach is not None and finding.reach < FAINT
    assert any("trainTextEncoder" in warning for warning in finding.warnings) == warned


def test_other_processes_find_the_same_and_write_nothing(photos: Path) -> None:
    main, other = run_of(photos), run_of(photos, rank=1)
    assert prepare.prepare(other) == prepare.prepare(other)
    assert not other.folder.photos.exists()
    assert prepare.prepare(main) == prepare.prepare(other)


def test_the_resolution_of_the_manifest_comes_first(photos: Path) -> None:
    run = run_of(photos, training={"resolution": 72})
    prepare.prepare(run)
    assert Image.open(run.folder.photos / "01.png").size == (72, 72)


def test_invalid_photos_are_reported_before_the_model_is_loaded(photos: Path) -> None:
    (photos / "notes.txt").write_text("x")
    run = run_of(photos)
    with pytest.raises(InvalidData, match=r"notes\.txt"):
        prepare.prepare(run)
    assert "model" not in vars(run)
    assert not run.folder.photos.exists()


def test_photos_that_are_elsewhere(photos: Path) -> None:
    with pytest.raises(InvalidConfig, match="is not a folder of this machine"):
        prepare.prepare(run_of(photos, images={"configMap": {"name": "photos"}}))


def test_no_word_fits_the_prompt(photos: Path) -> None:
    with pytest.raises(InvalidConfig, match="finds no word"):
        prepare.prepare(run_of(photos, prompt="a {identifier}ish {class}"))


LONG = "on the beach at night " * 10


def run_with(photos: Path, **sections: Any) -> Run:
    run = run_of(photos, identifier="sks")
    plain = run.config.model_dump(by_alias=True, exclude_none=True)
    run.config = TrainConfig.model_validate({**plain, **{name: plain[name] | one for name, one in sections.items()}})
    return run


@pytest.mark.parametrize(
    ("sections", "field", "lost"),
    [
        ({"subject": {"prompt": LONG + "a {identifier} {class}"}}, "spec.subject.prompt", "'sks' and 'dog'"),
        ({"subject": {"prompt": "a {identifier} " + LONG + "{class}"}}, "spec.subject.prompt", "'dog'"),
        ({"prior": {"prompt": LONG + "a {class}"}}, "spec.prior.prompt", "'dog'"),
        ({"samples": {"prompts": ["a dog", LONG + "a {identifier}"]}}, "spec.samples.prompts[1]", "'sks'"),
        ({"samples": {"prompts": [LONG + "a dog"]}}, "spec.samples.prompts[0]", "'dog'"),
        ({"evaluation": {"otherClasses": ["cat", "q x" * 20]}}, "spec.evaluation.otherClasses[1]", "'q x"),
    ],
)
def test_prompts_that_lose_identifier_or_class_are_refused(
    photos: Path, sections: dict[str, Any], field: str, lost: str
) -> None:
    run = run_with(photos, **sections)
    with pytest.raises(InvalidConfig) as caught:
        prepare.prepare(run)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert problem.message.startswith(f"is longer than the text encoder reads, and loses {lost}")
    assert not run.folder.photos.exists()


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"subject": {"prompt": "a {identifier} {class} " + LONG + "{identifier}"}}, "spec.subject.prompt"),
        ({"prior": {"prompt": "a {class} " + LONG}}, "spec.prior.prompt"),
        ({"samples": {"prompts": ["a {identifier} {class}", LONG]}}, "spec.samples.prompts[1]"),
        ({"evaluation": {"contexts": ["in water", "q x" * 20]}}, "spec.evaluation.contexts[1]"),
    ],
)
def test_other_long_prompts_are_reported(photos: Path, sections: dict[str, Any], field: str) -> None:
    (warning,) = (text for text in prepare.prepare(run_with(photos, **sections)).warnings if "cuts off" in text)
    assert warning.startswith(f"{field}: the text encoder cuts off ")


def test_a_class_that_the_model_hardly_knows_is_reported(photos: Path) -> None:
    run = run_of(photos, **{"class": "dgo"})
    (warning,) = (text for text in prepare.prepare(run).warnings if "class word" in text)
    assert "'dgo'" in warning
    assert warning.endswith("such as dog")


def test_masks_are_written_next_to_the_photos(photos: Path) -> None:
    run = run_of(photos)
    prepare.prepare(run)
    assert not run.folder.masks.exists()
    mask = Image.new("L", (100, 80), 0)
    mask.paste(255, (0, 0, 50, 80))
    mask.save(photos / "b.mask.png")
    run = run_of(photos, mask="loss")
    prepared = prepare.prepare(run)
    assert {photo.source: photo.masked for photo in prepared.photos} == {"a.png": False, "b.jpg": True}
    (written,) = run.folder.masks.iterdir()
    assert written.name == next(photo.file for photo in prepared.photos if photo.masked)
    found = Image.open(written)
    assert (found.mode, found.size, found.getpixel((9, 9)), found.getpixel((60, 9))) == ("L", (64, 64), 255, 0)
    assert len(list(run.folder.photos.iterdir())) == 2


def test_photos_keep_their_shapes(photos: Path) -> None:
    run = run_of(photos, crop="none")
    prepare.prepare(run)
    assert [Image.open(path).size for path in sorted(run.folder.photos.iterdir())] == [(64, 64), (72, 56)]


def test_each_size_of_the_photos_needs_class_images(photos: Path) -> None:
    few = run_with(photos, subject={"crop": "none"}, prior={"images": 1})
    with pytest.raises(InvalidConfig, match=r"prior\.images: 1 are fewer than the 2 sizes of the photos"):
        prepare.prepare(few)
    prepare.prepare(run_with(photos, prior={"images": 1}))


def test_captions_are_prompts(photos: Path) -> None:
    (photos / "a.txt").write_text("a {identifier} {class} at sea")
    words = prepare.prepare(run_of(photos)).identifiers[0]
    (photos / "b.txt").write_text(f"a {{identifier}} {{class}} {words}")
    prepared = prepare.prepare(run_of(photos))
    assert prepared.identifiers[0] != words
    captions = {photo.source: photo.caption for photo in prepared.photos}
    assert captions == {"a.png": "a {identifier} {class} at sea", "b.jpg": f"a {{identifier}} {{class}} {words}"}


def test_captions_that_lose_the_identifier_are_refused(photos: Path) -> None:
    (photos / "a.txt").write_text(LONG + "a {identifier} {class}")
    with pytest.raises(InvalidConfig) as caught:
        prepare.prepare(run_of(photos))
    (problem,) = caught.value.problems
    assert problem.field == "spec.subject.images, caption of a.png"
    assert "loses" in problem.message


def test_prompts_of_disabled_features_may_be_long(photos: Path) -> None:
    run = run_with(
        photos,
        prior={"enabled": False, "prompt": LONG + "a {class}"},
        evaluation={"enabled": False, "otherClasses": ["cat", "q x" * 20]},
    )
    assert not any("cuts off" in warning for warning in prepare.prepare(run).warnings)


def test_names_sort_like_the_photos() -> None:
    names = [prepare._file("", number, 100) for number in range(1, 101)]
    assert names == sorted(names)
    assert prepare._file("rex", 3, 9) == "rex/03.png"


def test_no_identifier_of_an_earlier_run_is_chosen(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare.prepare(run_of(photos))
    known = KnownSubject(before.identifiers[0], "dog", Path("runs/rex"))
    monkeypatch.setattr(prepare, "known_subjects", lambda source: [known])
    prepared = prepare.prepare(run_of(photos))
    assert prepared.identifiers[0] != before.identifiers[0]
    (warning,) = (text for text in prepared.warnings if "runs/rex" in text)
    assert f"set subject.identifier to {before.identifiers[0]}" in warning
    same = prepare.prepare(run_of(photos, identifier=before.identifiers[0]))
    assert same.identifiers[0] == before.identifiers[0]
    assert not any("runs/rex" in text for text in same.warnings)


def test_a_record_of_version_0_1_0_is_read(photos: Path) -> None:
    prepared = prepare.prepare(run_of(photos, identifier="sks"))
    record = prepared.model_dump(mode="json")
    (finding,) = record.pop("findings")
    for photo in record["photos"]:
        del photo["subject"]
    assert Prepared.model_validate({**record, "identifier": "sks", "finding": finding}) == prepared
