"""Standard streams that nobody may read any more: what a process says must never be what ends it.

A reader of a pipe ends (`| head`), a terminal is closed, the volume of a log is full: writing then fails, and a training of hours
must not. Called first thing by every command.
"""

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


def keep_streams() -> None:
    """Lets this process go on, silently, when its standard output or error can't be written to."""
    # What is opened next takes the lowest free number: a file of the run would get what libraries print.
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(lowest)
    sys.stdout, sys.stderr = _kept(sys.stdout, 1), _kept(sys.stderr, 2)


def _kept(stream: TextIO | None, number: int) -> TextIO:
    """The stream of a number that takes everything; one that is not of that number stays."""
    try:
        if stream is not None and stream.fileno() != number:
            return stream
    except (OSError, ValueError):
        return stream or io.StringIO()
    return io.TextIOWrapper(
        io.BufferedWriter(_Deaf(number, "wb", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors=getattr(stream, "errors", "backslashreplace"),
        # Pods log to a pipe: lines must come out as they are written.
        line_buffering=True,
    )


class _Deaf(io.FileIO):
    """A file that takes everything, whether or not anybody gets it."""

    def write(self, content: "Buffer") -> int:
        """Writes what can be written."""
        length = memoryview(content).nbytes
        try:
            # None from a pipe that is full and does not wait.
            return super().write(content) or length
        except OSError:
            return length
