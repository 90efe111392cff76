"""What of a trainer's `/progress` is believed: pure functions for `progress.py`."""

import math
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dreambooth_trainer.snapshot import PHASES, Snapshot

BODY_BYTES = 64 * 1024
"""Longest answer that is read; a snapshot has two kilobytes."""
LARGEST_NUMBER = 1e15
"""Larger numbers are no counts, bytes or seconds of a training."""
LONGEST_TEXT = 200
"""Longest identifier or name of a device."""


def snapshot_from(body: bytes) -> Snapshot | None:
    """The snapshot that an answer is; None if it isn't one or says what can't be."""
    try:
        snapshot = Snapshot.model_validate_json(body, strict=True)
    except ValidationError:
        return None
    sound = len(snapshot.phases) <= len(PHASES) and snapshot.percent <= 100 and _sound(snapshot.model_dump())
    return snapshot if sound else None


def visible(snapshot: Snapshot) -> tuple[Any, ...]:
    """What of a snapshot is worth a write of the status; the rest only accompanies it."""
    images = snapshot.class_images
    return (
        snapshot.phase,
        snapshot.step,
        snapshot.total_steps,
        int(snapshot.percent),
        images.done,
        images.total,
        snapshot.identifier,
        snapshot.device,
    )


def _sound(value: Any) -> bool:
    """Whether all numbers are finite and none is negative, texts are short and printable, times have an offset."""
    match value:
        case dict():
            return all(_sound(entry) for entry in value.values())
        case list():
            return all(_sound(entry) for entry in value)
        case int() | float():
            return math.isfinite(value) and 0 <= value <= LARGEST_NUMBER
        case str():
            return len(value) <= LONGEST_TEXT and value.isprintable()
        case datetime():
            return value.tzinfo is not None
        case _:
            return value is None
