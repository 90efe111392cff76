"""Writes the progress to a file, for other processes of the same machine: the client of users, who may have started this one."""

import os
import time
from contextlib import suppress
from pathlib import Path

from dreambooth_api.progress import Event, Observer, Snapshot

SECONDS = 1.0
"""Time between two writes while a phase runs."""


def recorder(file: Path) -> Observer:
    """An observer that keeps the newest snapshot in a file, as JSON.

    The file is complete at any time, but is not flushed to the disk: it is worth nothing when the machine has failed. A run
    does not end because it can't be written.
    """
    next_write = 0.0

    def record(event: Event, snapshot: Snapshot) -> None:
        nonlocal next_write
        now = time.monotonic()
        if event == "advance" and now < next_write:
            return
        next_write = now + SECONDS
        written = file.with_name(f".{file.name}.{os.getpid()}")
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(snapshot.model_dump_json())
            written.replace(file)

    return record
