"""The last word of a trainer: the termination message of its pod (`process/termination.py` of the trainer), which nobody vouches
for."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from dreambooth_api import failures
from dreambooth_operator.decide.status.reasons import clean
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import state_of

COMPLETED = "Completed"
INTERNAL_ERROR = "InternalError"
CLASSES = {
    failure.__name__: failure.exit_code
    for failure in (
        failures.InvalidConfig,
        failures.InvalidData,
        failures.ModelUnavailable,
        failures.OutOfMemory,
        failures.NonFiniteLoss,
        failures.StorageFull,
        failures.CommunicationFailure,
        failures.Interrupted,
        failures.StorageUnavailable,
    )
}
"""Exit code of each class of failure."""
REASONS = {COMPLETED, INTERNAL_ERROR, *CLASSES}
"""All that a trainer may give as its reason."""

LARGEST = 2**53
"""Largest count that is believed."""
_FIGURES = 40
_NAME = 63


class LastWord(NamedTuple):
    """What a trainer said when it ended."""

    reason: str
    """One of `REASONS`."""
    message: str
    """What happened and what to do."""
    step: int | None
    """Optimizer steps done."""
    result: Mapping[str, Any]
    """Figures and names of what a complete run left; anything may stand in it."""


def last_word(pod: Object) -> LastWord | None:
    """What the trainer of a pod said, if it is its JSON and not the end of a log."""
    message = (state_of(pod, "terminated") or {}).get("message")
    try:
        said = json.loads(message or "")
    except (ValueError, RecursionError):
        return None
    reason = said.get("reason") if isinstance(said, dict) else None
    if not isinstance(reason, str) or reason not in REASONS:
        return None
    result = said.get("result")
    return LastWord(
        reason=reason,
        message=clean(str(said.get("message") or "")),
        step=count(said.get("step")),
        result=result if isinstance(result, dict) else {},
    )


def count(value: Any) -> int | None:
    """A number of something, if it is one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return max(0, min(value, LARGEST)) if whole else None


def rounded(value: Any, digits: int = 4) -> float | None:
    """A number to so many significant digits, if it is a finite one."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(f"{value:.{digits}g}") if number and math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: Any, length: int = 200) -> str | None:
    """A short text, if it is one."""
    return clean(value, length) or None if isinstance(value, str) else None


def figures_of(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a result, not too many."""
    numbers = {name: rounded(value) for name, value in result.items() if len(name) <= _NAME and name.isprintable()}
    finite = sorted(name for name, value in numbers.items() if value is not None)
    return {name: numbers[name] for name in finite[:_FIGURES]}
