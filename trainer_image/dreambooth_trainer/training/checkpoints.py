"""Training states on disk: whole or not there at all, verified when loaded, the newest few kept. Used by the `train` phase."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import flush_folder, manifest_of, write_json

COMPLETE = "COMPLETE"
"""File of a checkpoint with the SHA-256 of all others; written last."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete training state."""

    folder: Path
    step: int
    """Optimizer steps that it has behind it."""
    world_size: int
    zero_stage: int


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run. Every process must make every call."""

    folder: Path
    keep: int
    distributed: Distributed

    def save(self, step: int, zero_stage: int, write: Callable[[Path], None]) -> None:
        """Writes a checkpoint and removes the oldest beyond `keep`.

        The state goes to a temporary folder, is flushed, marked complete and renamed; only then is an older one removed, so
        that a kill at any moment leaves one to go on from.

        Args:
            step: optimizer steps behind the state.
            zero_stage: how it is sharded.
            write: writes this process's part into the folder that it is given.
        """
        staging, target = self.folder / f".step-{step:08d}", self.folder / f"step-{step:08d}"
        if self.distributed.is_main:
            for leftover in self.folder.glob(".step-*"):
                shutil.rmtree(leftover)
            staging.mkdir(parents=True)
        self.distributed.barrier()
        try:
            write(staging)
        except BaseException:
            # On a full volume half a checkpoint would be in the way of the next start.
            shutil.rmtree(staging, ignore_errors=True)
            raise
        self.distributed.barrier()
        if self.distributed.is_main:
            facts = {
                "step": step,
                "worldSize": self.distributed.size,
                "zeroStage": zero_stage,
                "files": manifest_of(staging),
            }
            write_json(staging / COMPLETE, facts)
            flush_folder(staging)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(staging, target)
            flush_folder(self.folder, contents=False)
            stored = self._stored()
            newest = stored.index(target) + 1
            # Later ones are damaged, and this run went on from one before them: they must not count as kept.
            for superseded in [*stored[: max(0, newest - self.keep)], *stored[newest:]]:
                shutil.rmtree(superseded)
        self.distributed.barrier()

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; one that is damaged is passed over."""
        return next((checkpoint for folder in reversed(self._stored()) if (checkpoint := read(folder))), None)

    def clear(self) -> None:
        """Removes all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stored(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder; None where a file is missing or differs from what was written."""
    try:
        facts = json.loads((folder / COMPLETE).read_text())
        found = manifest_of(folder)
    except (OSError, ValueError):
        return None
    found.pop(COMPLETE)
    return (
        Checkpoint(folder, facts["step"], facts["worldSize"], facts["zeroStage"]) if found == facts["files"] else None
    )
