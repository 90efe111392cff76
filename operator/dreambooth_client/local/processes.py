"""Trainers as processes of this machine: they go on when the process that has started them ends."""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen

from dreambooth_client.errors import LocalFailure
from dreambooth_trainer.process.lock import holder_of, is_alive
from dreambooth_trainer.process.records import Records
from dreambooth_trainer.process.storage import write_json

PATIENCE = 120.0
"""Seconds for which a process may take to save its state."""


def start(arguments: Sequence[str], records: Records) -> None:
    """Starts a trainer.

    Args:
        arguments: what follows the name of Python; those of the records are appended.
        records: the files about the process.
    """
    records.root.mkdir(parents=True, exist_ok=True)
    # What the last process has left would be taken for the new one's.
    for file in (records.progress, records.ending):
        file.unlink(missing_ok=True)
    own = ["--progress-log", str(records.progress), "--termination-log", str(records.ending)]
    with records.log.open("ab") as log:
        process = Popen(
            [sys.executable, *arguments, *own], stdin=DEVNULL, stdout=log, stderr=STDOUT, start_new_session=True
        )
    write_json(records.started, {"pid": process.pid, "since": datetime.now(UTC).isoformat()})
    # Without a wait, it would remain a zombie when it has ended.
    threading.Thread(target=process.wait, daemon=True, name=f"wait for {process.pid}").start()


def running(records: Records, lock: Path) -> int | None:
    """The number of the process that writes to an output folder, or has been started to do so; None if there is none.

    Args:
        records: the files about the process.
        lock: the lock file of the output folder; it also names processes that a terminal has started.
    """
    if holder := holder_of(lock):
        return holder.pid
    with suppress(OSError, ValueError, LookupError):
        said = json.loads(records.started.read_text())
        if is_alive(said["pid"], said["since"]):
            return int(said["pid"])
    return None


async def stop(records: Records, lock: Path) -> bool:
    """Stops a process, which saves its state, and waits for its end.

    Args:
        records: the files about the process.
        lock: the lock file of the output folder.

    Returns:
        Whether there was one.

    Raises:
        LocalFailure: it does not end.
    """
    pid = running(records, lock)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    waited = 0.0
    while running(records, lock) == pid:
        if waited > PATIENCE:
            raise LocalFailure(f"process {pid} does not end; it may still save its state. Try again later.")
        await asyncio.sleep(0.1)
        waited += 0.1
    return True
