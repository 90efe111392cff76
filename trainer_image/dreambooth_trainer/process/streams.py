"""Standard streams that ignore write errors, so that output never ends a process.

If the reader of a pipe ends (`| head`), a terminal is closed, or the volume of a log is full, writing fails. A long
training must not fail then. Every command calls it at its start.
"""

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


def keep_streams() -> None:
    """Makes this process ignore write errors of its standard output and standard error."""
    # The next file that is opened takes the lowest free descriptor: libraries would print into a file of the run.
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(lowest)
    sys.stdout, sys.stderr = _kept(sys.stdout, 1), _kept(sys.stderr, 2)


def _kept(stream: TextIO | None, number: int) -> TextIO:
    """A stream for a file descriptor that ignores write errors. A stream of another descriptor is returned
    unchanged."""
    try:
        if stream is not None and stream.fileno() != number:
            return stream
    except (OSError, ValueError):
        return stream or io.StringIO()
    return io.TextIOWrapper(
        io.BufferedWriter(_IgnoreErrors(number, "wb", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors=getattr(stream, "errors", "backslashreplace"),
        # Pods log to a pipe: each line must appear when it is written.
        line_buffering=True,
    )


class _IgnoreErrors(io.FileIO):
    """A file that ignores write errors."""

    def write(self, content: "Buffer") -> int:
        """Writes as much as possible."""
        length = memoryview(content).nbytes
        try:
            # None from a full non-blocking pipe.
            return super().write(content) or length
        except OSError:
            return length
