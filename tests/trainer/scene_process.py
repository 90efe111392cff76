"""A scene as a process, as pods start it."""

import json
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.warm_start import warm_start
from dreambooth_trainer.run import RunFolder
from tests.trainer.tiny_training import wait


@dataclass(frozen=True)
class SceneProcess:
    """A scene that is started as pods start it."""

    run: RunFolder | None
    """None for a scene that names a model."""
    folder: Path
    spec: Any

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def log(self) -> Path:
        """The output of all starts."""
        return self.folder / "log"

    @property
    def termination(self) -> dict[str, Any]:
        """The content of the termination log."""
        return dict(json.loads((self.folder / "termination.json").read_text()))

    @property
    def record(self) -> dict[str, Any]:
        """The content of `scene.json`."""
        return dict(json.loads((self.output / "scene.json").read_text()))

    @property
    def pictures(self) -> list[Path]:
        """The pictures, without the contact sheet."""
        return sorted(path for path in self.output.glob("*.png") if path.stem != "scene")

    def arguments(self, *more: str) -> list[str]:
        """Arguments of the program."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "spec.json").write_text(json.dumps(self.spec))
        return [
            *("--config", str(self.folder / "spec.json"), "--output", str(self.output)),
            *(["--run", str(self.run.root)] if self.run else []),
            *("--termination-log", str(self.folder / "termination.json"), *more),
        ]

    def start(self, *more: str, **environment: str) -> BaseProcess:
        """Starts it with imported libraries."""
        return warm_start(self.arguments(*more), self.log, environment, module="dreambooth_trainer.scene")

    def finish(self, **environment: str) -> int:
        """Runs it to its end and returns the exit code."""
        return wait(self.start(**environment))


def content(scene: SceneProcess) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in scene.output.iterdir()}


def difference(one: Path, other: Path) -> int:
    """The largest difference of two pictures in any channel."""
    a, b = Image.open(one), Image.open(other)
    return max(abs(x - y) for x, y in zip(a.tobytes(), b.tobytes(), strict=True))
