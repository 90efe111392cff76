"""What of a trainer's `/progress` is believed: pure functions for `poller.py`."""

import math
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dreambooth_api.progress import PHASES, Snapshot

BODY_BYTES = 64 * 1024
"""Longest answer that is read; a snapshot has two kilobytes."""
LARGEST_NUMBER = 1e15
"""Larger numbers are no counts, bytes or seconds of a training."""
LONGEST_TEXT = 200
"""Longest identifier or name of a device."""


class NoSnapshot(Exception):
    """An answer that is not believed; its text says why, in our own words."""


def snapshot_from(body: bytes, before: Snapshot | None = None) -> Snapshot:
    """The snapshot that an answer is.

    Args:
        body: The answer.
        before: What the same pod told before.

    Raises:
        NoSnapshot: It isn't one, or says what can't be.
    """
    try:
        snapshot = Snapshot.model_validate_json(body, strict=True)
    except ValidationError as error:
        # Places are names of our own schema: what else an answer holds is passed over.
        place = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise NoSnapshot(f"it breaks the schema at {place}." if place else "it is no JSON.") from None
    if len(snapshot.phases) > len(PHASES):
        raise NoSnapshot("it has more phases than there are.")
    for name, value in snapshot.model_dump(by_alias=True).items():
        if not _sound(value):
            raise NoSnapshot(f"{name} has a value that can't be.")
    if snapshot.percent > 100 or _beyond(snapshot.step, snapshot.total_steps):
        raise NoSnapshot("it claims more than the whole.")
    if _beyond(snapshot.class_images.done, snapshot.class_images.total):
        raise NoSnapshot("it claims more class images than are wanted.")
    if before is not None and _place(snapshot) < _place(before):
        raise NoSnapshot("it claims to be in an earlier phase than before.")
    return snapshot


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


def _beyond(done: int, total: int | None) -> bool:
    return total is not None and done > total


def _place(snapshot: Snapshot) -> int:
    return -1 if snapshot.phase is None else PHASES.index(snapshot.phase)


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
