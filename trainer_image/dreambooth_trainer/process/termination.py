"""The termination message of a process: a short JSON for the kubelet, written by `start.py`, read by the
operator.

    {"reason": "OutOfMemory", "exitCode": 5, "message": "...", "step": 120, "result": {"subj": 0.81}, "warnings": ["..."]}

Kubernetes stores at most 4096 bytes of it in the pod's status, which is still available when the container has ended.
"""

import bisect
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic_core import to_json

from dreambooth_api.failures import classify
from dreambooth_api.printing import printable

LIMIT = 4095
"""Most bytes of a termination message: the kubelet truncates it at 4096."""

_SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "HF_UPLOAD_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "WANDB_API_KEY",
)
_GAP = " ... "

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    reason: str
    """CamelCase reason of the end: `Completed`, a class of `failures`, or `InternalError`."""
    exit_code: int
    """Exit code of the process."""
    message: str
    """What happened, and the remedy, for people."""
    step: int | None = None
    """Optimizer steps done."""
    result: Mapping[str, float | int | str | None] = field(default_factory=dict)
    """Paths and figures of a finished run, in a short form."""
    warnings: Sequence[str] = ()
    """The first warnings of a finished run: the last ones become known when nobody may ask for its progress any more."""


def outcome_of(error: BaseException, environment: Mapping[str, str]) -> Outcome:
    """The outcome of a run that ended with an exception, without the secrets of its environment."""
    failure = classify(error)
    if failure is None:
        text = f"{type(error).__name__}: {error}"
        return Outcome("InternalError", 1, printable(redact(text, environment)))
    return Outcome(failure.reason, failure.exit_code, printable(redact(str(failure), environment)))


def redact(text: str, environment: Mapping[str, str]) -> str:
    """A text with tokens and keys replaced by `***`: libraries put request headers and URLs into their messages."""
    secrets = {environment.get(name, "").strip() for name in _SECRET_VARIABLES} - {""}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def encode(outcome: Outcome) -> bytes:
    """The termination message: UTF-8 JSON of at most `LIMIT` bytes.

    A message that is too long loses its middle: the beginning names the failure, the end the remedy. A result that
    leaves less than half of the space to the message is omitted, and so are the last warnings that leave none.
    """
    message = outcome.message.encode("utf-8", "replace").decode()
    if len(_json(replace(outcome, warnings=()), "")) > LIMIT // 2:
        outcome = replace(outcome, result={})
    while outcome.warnings and len(_json(outcome, message[:LIMIT])) > LIMIT:
        outcome = replace(outcome, warnings=outcome.warnings[:-1])
    if len(message) <= LIMIT and len(content := _json(outcome, message)) <= LIMIT:
        return content
    kept = bisect.bisect_right(range(LIMIT), LIMIT, key=lambda kept: len(_json(outcome, _cut(message, kept)))) - 1
    return _json(outcome, _cut(message, kept))


def clear_termination(path: Path) -> None:
    """Empties a termination message that an earlier process has written."""
    with suppress(OSError):
        if path.exists():
            path.write_bytes(b"")


def write_termination(path: Path, outcome: Outcome) -> None:
    """Writes the termination message in place: the kubelet mounts this single file, so it can't be replaced by a
    rename.

    If it can't be written, a warning is logged: the exit code must still say how the run ended.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(outcome))
    except OSError as error:
        logger.warning("the termination message can't be written to %s: %s", path, error)


def _json(outcome: Outcome, message: str) -> bytes:
    content = {
        "reason": outcome.reason,
        "exitCode": outcome.exit_code,
        "message": message,
        "step": outcome.step,
        "result": outcome.result,
        **({"warnings": list(outcome.warnings)} if outcome.warnings else {}),
    }
    return to_json(content, inf_nan_mode="null")


def _cut(message: str, kept: int) -> str:
    """The first two thirds and the last third of `kept` characters of a longer message."""
    tail = kept // 3
    return message[: kept - tail] + _GAP + message[len(message) - tail :]
