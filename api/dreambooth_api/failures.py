"""The classes of failure, each with the reason and the exit code that a machine reads and a message that says what to do.

    TrainerFailure
    ├── InvalidConfig         2   the manifest is wrong                            a retry does not help
    ├── InvalidData           3   the photos are                                   a retry does not help
    ├── ModelUnavailable      4   a base model or CLIP model can't be loaded        a retry may help
    ├── OutOfMemory           5   device or host memory ran out                    a retry does not help
    ├── NonFiniteLoss         6   the loss or the model is NaN or infinite         a retry does not help
    ├── StorageFull           7   the volume is full                               a retry helps once there is room
    ├── CommunicationFailure  8   another process of the run died or stopped responding   a retry resumes from the checkpoint
    ├── Interrupted           9   a signal or Ctrl-C; the state was saved          a retry resumes from the checkpoint
    ├── StorageUnavailable   10   a folder can't be written or is in use           a retry helps once it can
    ├── UploadRefused        13   credentials or the destination are wrong         a retry does not help
    └── UploadFailed         14   the destination can't be reached                 a retry may help

Exit code 1 is left to errors of the trainer itself (reason `InternalError`), 0 is success; 11 and 12 are those of the client,
whose commands end with the code of a trainer too. Raised by every module of the trainer, turned into an exit code by `__main__`,
read from the termination log by the operator.
"""

import dataclasses
import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from dreambooth_api.printing import one_line


class TrainerFailure(Exception):
    """A failure whose class a user or the operator can act on."""

    exit_code: ClassVar[int]

    @property
    def reason(self) -> str:
        """CamelCase name of the class, as the `Failed` condition shows it."""
        return type(self).__name__


@dataclass(frozen=True)
class Problem:
    """One mistake in the manifest or in its photos."""

    field: str
    """Path of the field (`spec.training.steps`)."""
    value: Any
    """Value of the field."""
    message: str
    """What is wrong with the value."""
    remedy: str
    """What the user can do."""
    may_be_newer: bool = dataclasses.field(default=False, compare=False)
    """Whether a newer version of the schema may have this field or value."""

    def __str__(self) -> str:
        shown = repr(self.value)
        # The end of a path names the file.
        shown = shown if len(shown) <= 80 else f"{shown[:29]}...{shown[-48:]}"
        return one_line(f"{self.field}: {shown} {self.message}. {self.remedy}.")


class ProblemsFound(TrainerFailure):
    """Base of the two failures that list everything wrong at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class InvalidConfig(ProblemsFound):
    """The manifest is wrong."""

    exit_code = 2


class InvalidData(ProblemsFound):
    """The photos are wrong."""

    exit_code = 3


class ModelUnavailable(TrainerFailure):
    """The base model or the CLIP model of the evaluation can't be loaded."""

    exit_code = 4


class OutOfMemory(TrainerFailure):
    """The memory of the device or of the host ran out."""

    exit_code = 5


class NonFiniteLoss(TrainerFailure):
    """The loss, or an output of the base model, is NaN or infinite."""

    exit_code = 6


class StorageFull(TrainerFailure):
    """The volume of the outputs is full."""

    exit_code = 7


class CommunicationFailure(TrainerFailure):
    """Another process of the run died or stopped responding."""

    exit_code = 8


class Interrupted(TrainerFailure):
    """A signal or Ctrl-C; the next start resumes from the saved state."""

    exit_code = 9


class StorageUnavailable(TrainerFailure):
    """A folder or file can't be written or read, or another process writes to the folder."""

    exit_code = 10

    @classmethod
    def of(cls, error: OSError, folder: Path) -> Self:
        """The failure for a folder that this process may not write to."""
        return cls(f"{folder} can't be written to: {_system_error(error)}. {_WRITABLE}")


class UploadRefused(TrainerFailure):
    """The destination of the upload does not exist, or does not accept the credentials. The results are kept."""

    exit_code = 13


class UploadFailed(TrainerFailure):
    """The upload failed for a reason that may pass. The results are kept."""

    exit_code = 14


_WRITABLE = "Give a folder that this user may write to, or change its owner or its mount."


def _system_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


_MEMORY = "can't allocate memory", "Cannot allocate memory", "out of memory", "not enough memory"
# The last two are torch's zip writer, which notices only that less was written than it wanted.
_STORAGE = "No space left on device", "Disk quota exceeded", "file write failed", "unexpected pos"
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EIO,
    errno.ESTALE,
}
"""Errors of the operating system about files and folders, whose cause lies outside the trainer."""
_COMMUNICATION = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo",
    "NCCL",
    "ProcessGroup",
    "socketStartConnect",
)


def classify(error: BaseException) -> TrainerFailure | None:
    """Finds the class of failure for an exception and its causes; None for an error of the trainer itself.

    Libraries wrap errors of the operating system in types of their own (safetensors, torch's zip writer, gloo), so the
    message decides where the type doesn't.
    """
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, TrainerFailure):
            return cause
    for cause in chain:
        text = str(cause) or type(cause).__name__
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError" or _contains(text, _MEMORY):
            return OutOfMemory(
                f"{text.splitlines()[0]}. Lower training.batchSize or training.resolution, set "
                "training.gradientCheckpointing, use method lora, a higher deepspeed.zeroStage, or ask for more memory."
            )
        code = _error_number(cause, text)
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or _contains(text, _STORAGE):
            return StorageFull(f"{text}. Free or enlarge the volume of the output, then start again: the run resumes.")
        if code in _REFUSED:
            said = _system_error(cause) if isinstance(cause, OSError) else text
            return StorageUnavailable(f"a file or folder can't be used: {said}. {_WRITABLE}")
        if isinstance(cause, KeyboardInterrupt):
            return Interrupted("stopped by Ctrl-C; the same command resumes the run")
        broken = isinstance(cause, ConnectionError) and not isinstance(cause, BrokenPipeError)
        # Base of what torch.distributed raises; torch may not be imported yet.
        broken |= any(base.__name__ == "DistError" for base in type(cause).__mro__)
        if broken or (isinstance(cause, RuntimeError) and _contains(text, _COMMUNICATION)):
            return CommunicationFailure(
                f"{text.splitlines()[0]}. A process of the run died or lost its network; the next start resumes from "
                "the last checkpoint."
            )
    return None


def _error_number(cause: BaseException, text: str) -> int | None:
    """Error number of the operating system; libraries written in Rust have it in their message."""
    if isinstance(cause, OSError):
        return cause.errno
    found = re.search(r"\(os error (\d+)\)", text)
    return int(found[1]) if found else None


def _contains(text: str, phrases: Sequence[str]) -> bool:
    return any(phrase in text for phrase in phrases)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
