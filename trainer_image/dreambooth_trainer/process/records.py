"""What a process on the machine of a user leaves about itself in its output folder, for other processes of this machine."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = ".process"
"""Name of the folder; hidden, as it is no part of the output."""


@dataclass(frozen=True)
class Records:
    """The files about the newest process that writes, or wrote, to an output folder."""

    root: Path

    @classmethod
    def of(cls, output: Path) -> "Records":
        """Those of an output folder, of a run or of a scene."""
        return cls(output / FOLDER)

    @property
    def manifest(self) -> Path:
        """The manifest by which it was started, in JSON; missing if a terminal started it."""
        return self.root / "manifest.json"

    @property
    def photos(self) -> Path:
        """The photos that were submitted with the manifest."""
        return self.root / "photos"

    @property
    def settings(self) -> Path:
        """What the process reads, in JSON."""
        return self.root / "settings.json"

    @property
    def started(self) -> Path:
        """Which process was started, in JSON; its lock follows seconds later."""
        return self.root / "started.json"

    @property
    def progress(self) -> Path:
        """Its progress: a `Snapshot` in JSON."""
        return self.root / "progress.json"

    @property
    def ending(self) -> Path:
        """Its termination message; missing while it runs, and after it was killed."""
        return self.root / "ending.json"

    @property
    def log(self) -> Path:
        """What it has printed; missing if it printed on a terminal."""
        return self.root / "log"
