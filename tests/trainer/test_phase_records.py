from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.progress import Report
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.phase_records import Ledger, differences, phase_keys, what_determines_the_weights

PHOTOS = {"a.png": "1" * 64, "b.png": "2" * 64}
AFTER_TRAINING = {"export", "sample", "evaluate"}


class Found(Report):
    number: int


class Other(Report):
    name: str


def config(**sections: dict[str, Any]) -> TrainConfig:
    subject = {"class": "dog", "images": {"path": "photos"}, **sections.pop("subject", {})}
    return TrainConfig.model_validate({"subject": subject, **sections})


def changed(other: TrainConfig, photos: dict[str, str] = PHOTOS) -> set[str]:
    before, after = phase_keys(config(), PHOTOS), phase_keys(other, photos)
    assert set(before) == set(after)
    return {phase for phase in before if before[phase] != after[phase]}


def test_what_was_recorded_is_recalled(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state")
    assert ledger.recall("train", "key", Found) is None
    assert ledger.seconds() == {}
    ledger.record("train", "key", Found(number=3), {"prior": 0.5, "train": 1.5})
    assert Ledger(tmp_path / "state").recall("train", "key", Found) == Found(number=3)
    ledger.record("export", "key", Found(number=4), {"export": 2})
    assert ledger.seconds() == {"prior": 0.5, "train": 1.5, "export": 2}
    (tmp_path / "state" / "export.json").unlink()
    assert ledger.recall("train", "another key", Found) is None
    assert ledger.recall("export", "key", Found) is None


def test_what_cannot_be_read_is_not_finished(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("train", "key", Found(number=3), {"train": 1})
    assert ledger.recall("train", "key", Other) is None
    (tmp_path / "train.json").write_text('{"key": "ke')
    assert ledger.recall("train", "key", Found) is None


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"training": {"steps": 401}}, {"train"} | AFTER_TRAINING),
        ({"training": {"resolution": 128}}, {"prepare", "train"} | AFTER_TRAINING),
        ({"prior": {"weight": 0.5}}, {"train"} | AFTER_TRAINING),
        ({"model": {"variant": "fp16"}}, {"prepare", "train"} | AFTER_TRAINING),
        ({"subject": {"identifier": "sks"}}, {"prepare", "train"} | AFTER_TRAINING),
        ({"subject": {"images": {"path": "/elsewhere/photos"}}}, set()),
        ({"output": {"formats": ["single-file"]}}, AFTER_TRAINING),
        ({"samples": {"steps": 21}}, {"sample", "evaluate"}),
        ({"evaluation": {"perPrompt": 5}}, {"evaluate"}),
        ({"checkpoints": {"everySteps": 7}}, set()),
    ],
)
def test_a_phase_is_done_again_when_what_determines_it_has_changed(
    sections: dict[str, Any], expected: set[str]
) -> None:
    assert changed(config(**sections)) == expected


def test_other_photos_are_another_run() -> None:
    everything = {"prepare", "train"} | AFTER_TRAINING
    assert changed(config(), {**PHOTOS, "b.png": "3" * 64}) == everything
    assert changed(config(), {"a.png": PHOTOS["a.png"]}) == everything


def test_differences_are_named_one_by_one(tmp_path: Path) -> None:
    before = what_determines_the_weights(config(), PHOTOS)
    now = what_determines_the_weights(
        config(training={"steps": 7, "ema": {"enabled": True}}), {"a.png": PHOTOS["a.png"], "c.png": "4" * 64}
    )
    assert differences(before, before, tmp_path) == []
    problems = differences(before, now, tmp_path)
    assert [problem.field for problem in problems] == [
        "spec.subject.images.b.png",
        "spec.subject.images.c.png",
        "spec.training.ema.enabled",
        "spec.training.steps",
    ]
    text = str(problems[-1])
    assert "spec.training.steps: 7 differs from the 400" in text
    assert str(tmp_path) in text and "Choose another output folder" in text
