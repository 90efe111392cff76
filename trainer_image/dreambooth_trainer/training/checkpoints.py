"""Training states on disk: written in the background, atomically, and verified before loading; only the newest ones are
kept. Used by the `train` phase."""

import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import flush_folder, manifest_of, write_json
from dreambooth_trainer.training.state import State

INDEX = "checkpoint.json"
"""File of a checkpoint with its step and the SHA-256 of the other files; written last."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete training state."""

    step: int
    """Optimizer steps done."""
    files: Sequence[Path]
    """The files of all processes that wrote it."""


class _Write:
    """A write of a process's state by a thread."""

    def __init__(self, step: int, staging: Path, file: str, state: State) -> None:
        self.step = step
        self.staging = staging
        self.file = file
        self.digest = ""
        self.error: BaseException | None = None
        # The end of a process doesn't wait for an incomplete checkpoint.
        self.thread = threading.Thread(target=self._run, args=(state,), daemon=True, name="checkpoint")
        self.thread.start()

    def _run(self, state: State) -> None:
        try:
            self.digest = state.write(self.staging / self.file)
        except BaseException as error:
            self.error = error


class Checkpoints:
    """The checkpoints of a run. Every process must make every call, except for the properties."""

    def __init__(self, folder: Path, keep: int, interval: float, distributed: Distributed) -> None:
        """The checkpoints in a folder.

        Args:
            folder: folder of the checkpoints.
            keep: how many to keep.
            interval: least seconds between the begins of two checkpoints; the first one counts from now.
            distributed: the processes of the run.
        """
        self._folder = folder
        self._keep = keep
        self._interval = interval
        self._distributed = distributed
        self._begun = time.monotonic()
        self._write: _Write | None = None

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint, by the clock of the main process; False in the others."""
        return self._distributed.is_main and not self.pending and time.monotonic() - self._begun >= self._interval

    @property
    def pending(self) -> bool:
        """Whether a checkpoint has begun that is not complete; the same in all processes."""
        return self._write is not None

    @property
    def writing(self) -> bool:
        """Whether this process still writes its part."""
        return self._write is not None and self._write.thread.is_alive()

    def begin(self, step: int, state: State) -> None:
        """Begins to write a checkpoint. Only one is written at a time.

        If the memory of the host has room for a copy of the state, it is written in the background, and the training
        can continue. Else it is written before this function returns.

        Args:
            step: optimizer steps done.
            state: this process's part of the state.
        """
        distributed, staging = self._distributed, self._folder / f".{_name(step)}"
        self._begun = time.monotonic()
        if distributed.is_main:
            for leftover in self._folder.glob(".step-*"):
                shutil.rmtree(leftover)
            staging.mkdir(parents=True)
        distributed.barrier()
        in_background = state.size <= distributed.free_host_memory
        file = f"state-{distributed.rank:05d}.safetensors"
        self._write = _Write(step, staging, file, state.copied() if in_background else state)
        if not in_background:
            self._write.thread.join()

    def complete(self) -> int:
        """Waits until the checkpoint is written, completes it, and removes the oldest ones beyond `keep`. Returns its step.

        The index is written when all files are on the disk, and then the folder is renamed. Only then is an older
        checkpoint removed, so that a complete one exists after a kill at any moment.

        Raises:
            OSError: this process could not write its part.
        """
        write = self._end()
        if write.error is not None:
            # On a full volume, an incomplete checkpoint would take the space of the next one.
            shutil.rmtree(write.staging, ignore_errors=True)
            raise write.error
        files = dict(self._distributed.gather((write.file, write.digest)))
        if self._distributed.is_main:
            write_json(write.staging / INDEX, {"step": write.step, "files": files})
            target = self._folder / write.staging.name.removeprefix(".")
            shutil.rmtree(target, ignore_errors=True)
            os.rename(write.staging, target)
            flush_folder(self._folder, contents=False)
            stored = _stored(self._folder)
            newest = stored.index(target) + 1
            # Later ones are damaged, since this run resumed from an earlier one: they must not count as kept.
            for superseded in [*stored[: max(0, newest - self._keep)], *stored[newest:]]:
                shutil.rmtree(superseded)
        self._distributed.barrier()
        return write.step

    def abandon(self) -> None:
        """Gives up the checkpoint that has begun, if any."""
        if self._write is not None:
            shutil.rmtree(self._end().staging, ignore_errors=True)

    def newest(self) -> Checkpoint | None:
        """The newest complete checkpoint. Damaged ones are skipped.

        The main process decides: on a network file system, another node can see an older state of the folder.
        """
        return self._distributed.share(newest(self._folder) if self._distributed.is_main else None)

    def _end(self) -> _Write:
        """Waits for the write."""
        assert self._write is not None, "no checkpoint has begun"
        write, self._write = self._write, None
        write.thread.join()
        return write


def newest(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint in a folder of checkpoints. Damaged ones are skipped."""
    return next((checkpoint for path in reversed(_stored(folder)) if (checkpoint := read(path))), None)


def at(folder: Path, step: int) -> Checkpoint | None:
    """The complete checkpoint after a step in a folder of checkpoints; None if there is none, or a damaged one."""
    return read(folder / _name(step))


def steps(folder: Path) -> list[int]:
    """The steps after which there are checkpoints, which may be damaged."""
    return [int(path.name.removeprefix("step-")) for path in _stored(folder)]


def keep_only_last(folder: Path, *, last: int | None) -> None:
    """Removes all checkpoints but the one after step `last`; with None all of them."""
    kept = folder / _name(last) if last is not None else None
    if kept is None or not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder; None if a file is missing or damaged."""
    try:
        index = json.loads((folder / INDEX).read_text())
        found = manifest_of(folder)
    except (OSError, ValueError):
        return None
    found.pop(INDEX)
    return Checkpoint(index["step"], [folder / name for name in sorted(found)]) if found == index["files"] else None
