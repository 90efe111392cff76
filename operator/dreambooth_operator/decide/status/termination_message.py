"""Parses the termination message of a trainer's pod, which `process/termination.py` of the trainer writes. Its content is
untrusted."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dreambooth_api import failures
from dreambooth_api.progress import LONGEST_WARNING, MOST_WARNINGS
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
        failures.UploadRefused,
        failures.UploadFailed,
    )
}
"""The exit code of each class of failure."""
REASONS = {COMPLETED, INTERNAL_ERROR, *CLASSES}
"""The reasons that a trainer may report."""

LARGEST = 2**53
"""Largest count that is accepted."""
_FIGURES = 40
_NAME = 63


class TerminationMessage(NamedTuple):
    """The termination message of a trainer."""

    reason: str
    """One of `REASONS`."""
    message: str
    """What happened and what to do."""
    step: int | None
    """Number of completed optimizer steps."""
    result: Mapping[str, Any]
    """Figures and file names of a complete run; unvalidated."""
    warnings: Sequence[str] = ()
    """The first warnings of a complete run."""


def termination_message_of(pod: Object) -> TerminationMessage | None:
    """The termination message of a pod if it is JSON from the trainer; None if it is the end of a log."""
    return parsed((state_of(pod, "terminated") or {}).get("message") or "")


def parsed(message: str | bytes) -> TerminationMessage | None:
    """A termination message if it is JSON from the trainer, else None."""
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        return None
    reason = content.get("reason") if isinstance(content, dict) else None
    if not isinstance(reason, str) or reason not in REASONS:
        return None
    result = content.get("result")
    return TerminationMessage(
        reason=reason,
        message=clean(str(content.get("message") or "")),
        step=count(content.get("step")),
        result=result if isinstance(result, dict) else {},
        warnings=_lines(content.get("warnings")),
    )


def count(value: Any) -> int | None:
    """The value as a count, if it is an integer."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return max(0, min(value, LARGEST)) if whole else None


def rounded(value: Any, digits: int = 4) -> float | None:
    """The value rounded to significant digits, if it is a finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(f"{value:.{digits}g}") if number and math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: Any, length: int = 200) -> str | None:
    """The value as a short text, if it is a string."""
    return clean(value, length) or None if isinstance(value, str) else None


def _lines(value: Any) -> tuple[str, ...]:
    """The short texts in a list; their count is limited."""
    entries = value[:MOST_WARNINGS] if isinstance(value, list) else []
    return tuple(line for entry in entries if (line := text(entry, LONGEST_WARNING)))


def figures_of(result: Mapping[str, Any]) -> dict[str, float | None]:
    """The finite numbers of a result; their count is limited."""
    numbers = {name: rounded(value) for name, value in result.items() if len(name) <= _NAME and name.isprintable()}
    finite = sorted(name for name, value in numbers.items() if value is not None)
    return {name: numbers[name] for name in finite[:_FIGURES]}
