"""Training states on disk: written atomically, verified before loading; only the newest ones are kept. Used by the
`train` phase."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
    """Optimizer steps done."""
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

        The state is written to a temporary folder, flushed, marked as complete and renamed. Only then is an older one
        removed, so that a complete checkpoint exists after a kill at any moment.

        Args:
            step: optimizer steps done.
            zero_stage: ZeRO stage of the state.
            write: writes this process's part of the state into a folder.
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
            # On a full volume, an incomplete checkpoint would take the space of the next one.
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
            # Later ones are damaged, since this run resumed from an earlier one: they must not count as kept.
            for superseded in [*stored[: max(0, newest - self.keep)], *stored[newest:]]:
                shutil.rmtree(superseded)
        self.distributed.barrier()

    def newest(self) -> Checkpoint | None:
        """The newest complete checkpoint. Damaged ones are skipped.

        The main process decides: on a network file system, another node can see an older state of the folder.
        """
        found = None
        if self.distributed.is_main:
            found = next((checkpoint for folder in reversed(self._stored()) if (checkpoint := read(folder))), None)
        facts = json.loads(self.distributed.share(json.dumps(found and asdict(found), default=str)))
        return Checkpoint(**{**facts, "folder": Path(facts["folder"])}) if facts else None

    def _stored(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder; None if a file is missing or damaged."""
    try:
        facts = json.loads((folder / COMPLETE).read_text())
        found = manifest_of(folder)
    except (OSError, ValueError):
        return None
    found.pop(COMPLETE)
    return (
        Checkpoint(folder, facts["step"], facts["worldSize"], facts["zeroStage"]) if found == facts["files"] else None
    )
