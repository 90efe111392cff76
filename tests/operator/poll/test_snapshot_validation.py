import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreambooth_api.progress import PHASES, Count, PhaseProgress, Snapshot
from dreambooth_operator.poll.snapshot_validation import BODY_BYTES, InvalidProgress, significant, snapshot_from


def make_snapshot(**changes: Any) -> Snapshot:
    """A snapshot in the middle of the training."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    fields: dict[str, Any] = {
        "phase": "train",
        "phases": [
            PhaseProgress(name=name, state="running", done=3, total=9, unit="steps", seconds=1.5) for name in PHASES
        ],
        "step": 120,
        "total_steps": 800,
        "percent": 31.5,
        "loss": 0.125,
        "prior_loss": 0.0625,
        "learning_rate": 5e-6,
        "grad_norm": 1.5,
        "steps_per_second": 3.0,
        "eta_seconds": 226.0,
        "class_images": Count(done=200, total=200),
        "identifier": "sks",
        "warnings": ["a.jpg looks blurred", "x" * 300],
        "device": "NVIDIA H200",
        "memory_bytes": 2**31,
        "device_memory_bytes": 2**34,
        "started_at": now,
        "updated_at": now,
    }
    return Snapshot(**{**fields, **changes})


def body(**changes: Any) -> bytes:
    """An answer with some fields replaced, as JSON that Python writes."""
    return json.dumps({**json.loads(make_snapshot().model_dump_json()), **changes}).encode()


def test_a_snapshot_of_the_trainer_is_valid() -> None:
    early = make_snapshot(
        phase=None, total_steps=None, loss=None, prior_loss=None, identifier=None, device=None, percent=0.0
    )
    for snapshot in (make_snapshot(), early):
        text = snapshot.model_dump_json().encode()
        assert snapshot_from(text, PHASES) == snapshot
        assert len(text) < BODY_BYTES / 10


def test_unknown_fields_are_ignored() -> None:
    assert snapshot_from(body(mood="good"), PHASES) == make_snapshot()


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": float("nan")},
        {"loss": float("inf")},
        {"priorLoss": -0.5},
        {"step": -1},
        {"step": 10**30},
        {"step": "120"},
        {"step": True},
        {"step": 1.5},
        {"percent": 100.5},
        {"percent": -1.0},
        {"memoryBytes": 1e300},
        {"phase": "lunch"},
        {"phase": "generate"},
        {"phases": "train"},
        {"phases": json.loads(make_snapshot().model_dump_json())["phases"] * 2},
        {"classImages": {"done": -1, "total": 5}},
        {"classImages": None},
        {"identifier": "x" * 401},
        {"warnings": ["x" * 301]},
        {"warnings": ["a photo is small"] * 11},
        {"warnings": ["a\x1b[2J"]},
        {"warnings": "a photo is small"},
        {"identifier": "s\x00ks"},
        {"device": "a\nb"},
        {"updatedAt": "2026-01-02T03:04:05"},
        {"updatedAt": "soon"},
        {"schemaVersion": 2},
        {"step": 801},
        {"classImages": {"done": 201, "total": 200}},
        {"loss": 1e308},
        {"device": "\x1b[31mH200\x1b[0m"},
        {"identifier": "sks\u202egnp"},
        {"identifier": "\ud800"},
        {"phases": [{"name": "train"}] * 8},
    ],
    ids=str,
)
def test_implausible_values_are_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidProgress) as caught:
        snapshot_from(body(**changes), PHASES)
    assert not any(str(value) in str(caught.value) for value in changes.values()), "it repeats untrusted values"


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"[]", b"{}", b"<html>", b"\xff\xfe", b"[" * 60_000, b'{"step":' * 8_000, b"1" * 60_000],
    ids=lambda answer: repr(answer[:10]),
)
def test_other_content_is_rejected(answer: bytes) -> None:
    with pytest.raises(InvalidProgress):
        snapshot_from(answer, PHASES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(json.loads(make_snapshot().model_dump_json()))), JSON, max_size=3)
)
def test_any_content_is_plausible_or_rejected(changes: dict[str, Any]) -> None:
    try:
        snapshot = snapshot_from(body(**changes), PHASES)
    except InvalidProgress as refused:
        assert str(refused).isprintable() and len(str(refused)) < 200
    else:
        assert 0 <= snapshot.percent <= 100 and snapshot.step >= 0
        assert all(text.isprintable() and len(text) <= 400 for text in (snapshot.identifier, snapshot.device) if text)


def test_phases_never_go_back() -> None:
    assert snapshot_from(body(phase="export"), PHASES, make_snapshot()).phase == "export"
    assert snapshot_from(body(), PHASES, make_snapshot(phase=None)).phase == "train"
    for phase in ("prior", None):
        with pytest.raises(InvalidProgress, match="phase is earlier"):
            snapshot_from(body(phase=phase), PHASES, make_snapshot())


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 121},
        {"phase": "export"},
        {"percent": 32.0},
        {"class_images": Count(done=201, total=None)},
        {"identifier": "zwx"},
    ],
    ids=str,
)
def test_significant_values(changes: dict[str, Any]) -> None:
    assert significant(make_snapshot(**changes)) != significant(make_snapshot())


def test_insignificant_values() -> None:
    later = make_snapshot().updated_at + timedelta(seconds=30)
    assert significant(make_snapshot(memory_bytes=1, updated_at=later, eta_seconds=1.0, percent=31.9)) == significant(
        make_snapshot()
    )
