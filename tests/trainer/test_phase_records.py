from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.progress import JsonModel
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.phase_records import Beginning, ByPath, Content, Ledger, phase_keys

PHOTOS = {"a.png": "1" * 64, "b.png": "2" * 64}
CONTENT = Content(model="m" * 64, photos=[list(PHOTOS.values())], clip_scorer="e" * 64)
AFTER_TRAINING = {"export", "sample", "evaluate"}
TRAINING = {"train", "choose"}


class Found(JsonModel):
    number: int


class Other(JsonModel):
    name: str


def config(**sections: dict[str, Any]) -> TrainConfig:
    subject = {"class": "dog", "images": {"path": "photos"}, **sections.pop("subject", {})}
    model = {"source": "embedded://emoji"}
    return TrainConfig.model_validate({"model": model, "subject": subject, **sections})


def changed(other: TrainConfig, **content: Any) -> set[str]:
    before, after = phase_keys(config(), CONTENT), phase_keys(other, replace(CONTENT, **content))
    assert set(before) == set(after)
    return {phase for phase in before if before[phase] != after[phase]}


def test_a_recorded_phase_is_found(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state")
    assert ledger.recall("train", "key", Found) is None
    assert ledger.seconds() == {}
    ledger.record("train", "key", Found(number=3), {"prior": 0.5, "train": 1.5}, {"train": 9})
    assert Ledger(tmp_path / "state").recall("train", "key", Found) == Found(number=3)
    ledger.record("export", "key", Found(number=4), {"export": 2}, {"export": 7})
    assert ledger.seconds() == {"prior": 0.5, "train": 1.5, "export": 2}
    assert ledger.memory() == {"train": 9, "export": 7}
    (tmp_path / "state" / "export.json").unlink()
    assert ledger.recall("train", "another key", Found) is None
    assert ledger.recall("export", "key", Found) is None


def test_an_unreadable_record_is_unfinished(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("train", "key", Found(number=3), {"train": 1}, {})
    assert ledger.recall("train", "key", Other) is None
    (tmp_path / "train.json").write_text('{"key": "ke')
    assert ledger.recall("train", "key", Found) is None


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"training": {"steps": 401}}, TRAINING | AFTER_TRAINING),
        ({"training": {"resolution": 128}}, {"prepare"} | TRAINING | AFTER_TRAINING),
        ({"prior": {"weight": 0.5}}, TRAINING | AFTER_TRAINING),
        ({"model": {"source": "elsewhere", "config": "there", "variant": "fp16"}}, set()),
        ({"subject": {"identifier": "sks"}}, {"prepare"} | TRAINING | AFTER_TRAINING),
        ({"subject": {"images": {"path": "/elsewhere/photos"}}}, set()),
        ({"output": {"formats": ["single-file"]}}, AFTER_TRAINING),
        ({"samples": {"steps": 21}}, {"sample", "evaluate"}),
        ({"evaluation": {"perPrompt": 5}}, {"evaluate"}),
        ({"evaluation": {"encoder": "/elsewhere/encoder"}}, set()),
        ({"checkpoints": {"intervalSeconds": 7}}, set()),
        ({"checkpoints": {"keepLast": True}}, set()),
        ({"training": {"lora": {"useDora": False}}}, set()),
        ({"training": {"stopping": "last"}}, set()),
        ({"training": {"stopping": "best"}}, TRAINING | AFTER_TRAINING),
        ({"training": {"lora": {"useDora": True}}}, TRAINING | AFTER_TRAINING),
        ({"training": {"quantization": "none"}}, set()),
        ({"training": {"quantization": "nf4"}}, TRAINING | AFTER_TRAINING),
    ],
)
def test_a_phase_is_repeated_if_its_inputs_have_changed(sections: dict[str, Any], expected: set[str]) -> None:
    assert changed(config(**sections)) == expected


@pytest.mark.parametrize(
    "content",
    [{"model": "n" * 64}, {"photos": [["1" * 64, "3" * 64]]}, {"photos": [["1" * 64]]}, {"photos": [["1" * 64] * 2]}],
)
def test_another_model_or_other_photos_make_another_run(content: dict[str, Any]) -> None:
    assert changed(config(), **content) == {"prepare"} | TRAINING | AFTER_TRAINING


def test_another_clip_scorer_makes_another_evaluation() -> None:
    assert changed(config(), clip_scorer="f" * 64) == {"evaluate"}


def test_names_of_photos_do_not_matter() -> None:
    assert changed(config(), photos=[["2" * 64, "1" * 64]]) == set()


def test_own_class_images_count_by_their_content() -> None:
    own = {"prior": {"source": {"path": "dogs"}}}
    assert changed(config(**own)) == set()
    assert changed(config(**own), class_images=["3" * 64]) == TRAINING | AFTER_TRAINING
    one, other = (phase_keys(config(**own), replace(CONTENT, class_images=[*two])) for two in ("ab", "ba"))
    assert one == other


def problems(
    tmp_path: Path, other: TrainConfig, photos: dict[str, str] = PHOTOS, *, continues: bool = True, **content: Any
) -> list[str]:
    before = Beginning.of(config(), CONTENT, "c" * 40)
    now = Beginning.of(other, replace(CONTENT, **{"photos": [list(photos.values())], **content}), None)
    own = {f"{digest[0]}.png": digest for digest in content.get("class_images", ())}
    files = {"spec.subject.images": photos, "spec.prior.source": own}
    return [str(one) for one in before.problems(now, files, tmp_path, continues=continues)]


def test_differences_are_named_one_by_one(tmp_path: Path) -> None:
    assert problems(tmp_path, config()) == []
    photos = {"a.png": "1" * 64, "c.png": "4" * 64}
    steps = {"steps": 7, "ema": {"enabled": True}}
    found = problems(tmp_path, config(training=steps, model={"source": "other"}), photos, model="n" * 64)
    assert [problem.split(":")[0] for problem in found] == [
        "spec.model.source",
        "spec.subject.images",
        "spec.training.ema.enabled",
        "spec.training.steps",
    ]
    assert f"'other' is another model than the one, 'embedded://emoji at {'c' * 40}', that the run in" in found[0]
    assert "name its commit in model.revision" in found[0]
    assert "['c.png'] are not among the photos" in found[1] and "1 of those are missing" in found[1]
    assert "spec.training.steps: 7 differs from the 400" in found[-1]
    assert str(tmp_path) in found[-1] and "Give 400 or more, or choose another output folder" in found[-1]


def test_other_class_images_are_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, config(), class_images=["3" * 64])
    message = (
        f"spec.prior.source: ['3.png'] are not among the class images that the run in {tmp_path} began with; 0 of those"
    )
    assert found.startswith(message)


def test_a_run_can_have_more_steps_while_a_checkpoint_is_left(tmp_path: Path) -> None:
    more = config(training={"steps": 800})
    assert problems(tmp_path, more) == []
    (found,) = problems(tmp_path, more, continues=False)
    assert found.startswith(f"spec.training.steps: 800 can't continue the 400 steps of the run in {tmp_path}")
    assert "Set it to 400 again" in found and "set checkpoints.keepLast before they finish" in found
    (found,) = problems(tmp_path, config(training={"steps": 800, "seed": 1}))
    assert found.startswith("spec.training.seed: 1 differs from the 0")


def test_records_by_path_are_renamed_where_they_fit(tmp_path: Path) -> None:
    ledger, old, now = Ledger(tmp_path), ByPath(config(), PHOTOS).keys, phase_keys(config(), CONTENT)
    ledger.record("train", old["train"], Found(number=3), {"train": 1.5}, {})
    ledger.record("sample", "another", Found(number=4), {}, {})
    ledger.rename(old, now)
    assert ledger.recall("train", now["train"], Found) == Found(number=3)
    assert ledger.recall("sample", "another", Found) == Found(number=4)
    assert ledger.seconds() == {"train": 1.5}
