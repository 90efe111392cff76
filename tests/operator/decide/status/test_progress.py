from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from dreambooth_api.progress import Count
from dreambooth_api.status import ClassImages, TrainingProgress
from dreambooth_operator.decide.status.progress import TRAINING
from dreambooth_operator.decide.status.termination_message import TerminationMessage
from tests.operator.pieces import read
from tests.operator.poll.test_snapshot_validation import make_snapshot

SPEC = read(training={"steps": 800}, prior={"images": 300}).spec
WORD = TerminationMessage("Interrupted", "", 130, {"identifier": "zwx"})


def after(before: TrainingProgress | None = None, **changes: Any) -> TrainingProgress:
    return TRAINING.reported(before, make_snapshot(**changes), SPEC)


def test_all_fields_of_a_report() -> None:
    assert after() == TrainingProgress(
        phase="train",
        step=120,
        total_steps=800,
        percent=31,
        loss=0.125,
        prior_loss=0.0625,
        steps_per_second=3.0,
        eta_seconds=240,
        class_images=ClassImages(done=200, total=300),
        identifier="sks",
        warnings=["a.jpg looks blurred", "x" * 300],
        device="NVIDIA H200",
        memory_bytes=2**31,
        device_memory_bytes=2**34,
        updated_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def test_a_checkpoint_is_remembered_by_the_next_start() -> None:
    saved = after(checkpoint_step=100)
    assert (after().checkpoint_step, saved.checkpoint_step) == (None, 100)
    assert after(saved, phase="prepare", step=0).checkpoint_step == 100
    assert after(saved, checkpoint_step=110).checkpoint_step == 110


def test_totals_come_from_the_spec() -> None:
    told_otherwise = after(total_steps=9, class_images=Count(done=7, total=9))
    assert (told_otherwise.total_steps, told_otherwise.class_images) == (800, ClassImages(done=7, total=300))
    without = TRAINING.reported(None, make_snapshot(), read(prior={"enabled": False}).spec)
    assert without.class_images is None


def test_each_class_of_several_subjects_has_class_images() -> None:
    images = {"configMap": {"name": "photos"}}
    subjects = [
        {"name": name, "class": class_, "images": images}
        for name, class_ in (("rex", "dog"), ("max", "dog"), ("tom", "cat"))
    ]
    spec = read(subject=None, subjects=subjects, prior={"images": 300}).spec
    reported = TRAINING.reported(None, make_snapshot(class_images=Count(done=500, total=600)), spec)
    assert reported.class_images == ClassImages(done=500, total=600)


@pytest.mark.parametrize(("before", "said", "expected"), [(0, 31.99, 31), (40, 31.5, 40), (0, 100.0, 99), (0, -5.0, 0)])
def test_the_percentage_never_decreases_and_reaches_100_only_at_the_end(
    before: int, said: float, expected: int
) -> None:
    assert after(TrainingProgress(percent=before), percent=said).percent == expected


def test_warnings_of_an_earlier_start_are_kept_until_there_are_new_ones() -> None:
    assert after(TrainingProgress(warnings=["known"]), warnings=[]).warnings == ["known"]
    assert after(TrainingProgress(warnings=["known"]), warnings=["new"]).warnings == ["new"]


@pytest.mark.parametrize("field", ["identifier", "device"])
def test_reported_names_are_kept(field: str) -> None:
    assert getattr(after(TrainingProgress(**{field: "known"}), **{field: None}), field) == "known"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, 0), (12.4, 10), (119.0, 120), (140.0, 150), (1799.0, 1800), (1840.0, 1860), (7300.0, 7200), (8000.0, 7800)],
)
def test_a_longer_eta_is_rounded_more(seconds: float, expected: int) -> None:
    assert after(eta_seconds=seconds).eta_seconds == expected


@pytest.mark.parametrize("seconds", [None, -1.0, float("nan"), float("inf")])
def test_an_invalid_eta_is_unknown(seconds: float | None) -> None:
    assert after(eta_seconds=seconds).eta_seconds is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 2, 1, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3), datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))), None),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9))), None),
    ],
)
def test_times_are_in_whole_seconds_and_plausible(said: datetime, expected: datetime | None) -> None:
    assert after(updated_at=said).updated_at == expected


@pytest.mark.parametrize("changes", [{"memory_bytes": 2**31 + 2**20}, {"eta_seconds": 226.4}, {"percent": 31.9}])
def test_insignificant_changes_are_ignored(changes: dict[str, Any]) -> None:
    before = after()
    later = make_snapshot().updated_at + timedelta(seconds=5)
    assert after(before, updated_at=later, **changes) == before
    assert after(before, updated_at=later, step=121).updated_at == later


def test_a_trainer_that_stopped_has_a_step_and_no_speed() -> None:
    stopped = TRAINING.stopped(after(), WORD)
    assert stopped == after().model_copy(update={"step": 130, "eta_seconds": None, "steps_per_second": None})
    assert TRAINING.stopped(None, WORD) == TrainingProgress(step=130)
    assert TRAINING.stopped(None, None) is None


@pytest.mark.parametrize(
    ("before", "word", "identifier"),
    [(None, None, None), (None, WORD, "zwx"), (after(), WORD._replace(result={}), "sks")],
)
def test_a_complete_run_is_at_100_percent(
    before: TrainingProgress | None, word: TerminationMessage | None, identifier: str | None
) -> None:
    done = TRAINING.completed(before, word, SPEC)
    assert (done.percent, done.step, done.total_steps, done.eta_seconds) == (100, 800, 800, None)
    assert done.identifier == identifier


def test_the_last_warnings_come_with_the_termination_message() -> None:
    known = after(warnings=["a.jpg looks blurred"])
    assert TRAINING.completed(known, WORD, SPEC).warnings == ["a.jpg looks blurred"]
    last = WORD._replace(warnings=["the subject is hardly learned", "a.jpg looks blurred"])
    assert TRAINING.completed(known, last, SPEC).warnings == [
        "the subject is hardly learned",
        "a.jpg looks blurred",
    ]


def test_progress_is_bounded_by_the_spec() -> None:
    progress_told = after(step=10**12, total_steps=None, class_images=Count(done=10**12, total=None))
    assert progress_told.step == progress_told.total_steps
    assert progress_told.class_images is not None
    assert progress_told.class_images.done == progress_told.class_images.total
