"""Validates the response of a trainer to `/progress`: pure functions for `poller.py`."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dreambooth_api.progress import LONGEST_WARNING, MOST_WARNINGS, PhaseName, Snapshot

BODY_BYTES = 64 * 1024
"""Longest response body; a snapshot has about 2 KiB."""
LARGEST_NUMBER = 1e15
"""Largest plausible number of steps, bytes or seconds."""
LONGEST_TEXT = 400
"""Longest string, such as the identifiers of several subjects or the name of a device."""


class InvalidProgress(Exception):
    """A response was rejected. The message contains no content of the response."""


def snapshot_from(body: bytes, phases: Sequence[PhaseName], before: Snapshot | None = None) -> Snapshot:
    """Parses a response.

    Args:
        body: The body of the response.
        phases: The phases that the trainer may have, in their order.
        before: The previous snapshot of the same pod.

    Raises:
        InvalidProgress: The body is not a valid snapshot, or its values are implausible.
    """
    try:
        snapshot = Snapshot.model_validate_json(body, strict=True)
    except ValidationError as error:
        # The location consists of field names of the schema; unknown fields of the response are ignored.
        place = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise InvalidProgress(f"{place} does not match the schema." if place else "it is not JSON.") from None
    if snapshot.phase is not None and snapshot.phase not in phases:
        raise InvalidProgress("its phase is none of this kind of work.")
    if len(snapshot.phases) > len(phases):
        raise InvalidProgress("it has too many phases.")
    if len(snapshot.warnings) > MOST_WARNINGS:
        raise InvalidProgress("it has too many warnings.")
    for name, value in snapshot.model_dump(by_alias=True).items():
        if not _is_plausible(value, LONGEST_WARNING if name == "warnings" else LONGEST_TEXT):
            raise InvalidProgress(f"{name} has an implausible value.")
    if snapshot.percent > 100 or _beyond(snapshot.step, snapshot.total_steps):
        raise InvalidProgress("percent or step exceeds its total.")
    if _beyond(snapshot.class_images.done, snapshot.class_images.total):
        raise InvalidProgress("the number of class images exceeds its total.")
    if before is not None and _phase_index(snapshot, phases) < _phase_index(before, phases):
        raise InvalidProgress("its phase is earlier than before.")
    return snapshot


def significant(snapshot: Snapshot) -> tuple[Any, ...]:
    """The values whose changes cause a status update; the others are written along with them."""
    images = snapshot.class_images
    return (
        snapshot.phase,
        snapshot.step,
        snapshot.total_steps,
        snapshot.checkpoint_step,
        int(snapshot.percent),
        images.done,
        images.total,
        snapshot.identifier,
        snapshot.device,
        tuple(snapshot.warnings),
        _pictures(snapshot),
    )


def _pictures(snapshot: Snapshot) -> tuple[int, int | None] | None:
    """How many of how many pictures of a scene are generated."""
    found = (one for one in snapshot.phases if one.name == "generate")
    return next(((one.done, one.total) for one in found), None)


def _beyond(done: int, total: int | None) -> bool:
    return total is not None and done > total


def _phase_index(snapshot: Snapshot, phases: Sequence[PhaseName]) -> int:
    return -1 if snapshot.phase is None else phases.index(snapshot.phase)


def _is_plausible(value: Any, longest: int) -> bool:
    """Whether all numbers are finite and not negative, strings are short and printable, and times have an offset."""
    match value:
        case dict():
            return all(_is_plausible(entry, longest) for entry in value.values())
        case list():
            return all(_is_plausible(entry, longest) for entry in value)
        case int() | float():
            return math.isfinite(value) and 0 <= value <= LARGEST_NUMBER
        case str():
            return len(value) <= longest and value.isprintable()
        case datetime():
            return value.tzinfo is not None
        case _:
            return value is None
