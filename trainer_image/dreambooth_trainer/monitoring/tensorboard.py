"""Event files for TensorBoard in the folder of a run: `tensorboard/training` has the steps, `tensorboard/results` the figures.

Written with tensorboardX, which takes 2 MB. `torch.utils.tensorboard` needs TensorBoard itself, with its server and gRPC: 50 MB.
The usual `SummaryWriter` of both writes in the background: a killed process loses steps that its checkpoint has.
"""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dreambooth_trainer.monitoring.trackers import Scalars, scalars_of


class TensorBoard:
    """A tracker that writes event files."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the event files."""
        self._training, self._results = folder / "training", folder / "results"
        self._file: EventFile | None = None

    def begin(self, step: int, earlier: Sequence[Mapping[str, Any]]) -> None:
        """Continues after a step. Readers of the files leave out what earlier ones have of later steps."""
        new = not self._training.exists()
        self._file = EventFile(self._training, f".after-{step}")
        self._file.begin(step + 1)
        if new:
            self.steps(earlier)

    def steps(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Writes the numbers of steps. They are on the disk when this returns."""
        assert self._file is not None
        for line in lines:
            for name, value in scalars_of(line).items():
                self._file.scalar(name, value, line["step"])
        self._file.flush()

    def pictures(self, step: int, files: Mapping[str, Path]) -> None:
        """Writes pictures."""
        assert self._file is not None
        for number, (prompt, file) in enumerate(files.items()):
            self._file.picture(f"pictures/{number:02d}-{_words(prompt)}", file, step)
        self._file.flush()

    def results(self, step: int, figures: Scalars, files: Mapping[str, Path]) -> None:
        """Replaces the figures and contact sheets of an earlier evaluation."""
        shutil.rmtree(self._results, ignore_errors=True)
        file = EventFile(self._results, "")
        for name, value in figures.items():
            file.scalar(f"figures/{name}", value, step)
        for name, picture in files.items():
            file.picture(f"sheets/{name}", picture, step)
        file.flush()

    def close(self) -> None:
        """Does nothing: all is on the disk."""


class EventFile:
    """A new event file."""

    def __init__(self, folder: Path, suffix: str) -> None:
        """Creates it.

        Args:
            folder: its folder.
            suffix: end of its name.
        """
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"), suffix)

    def begin(self, step: int) -> None:
        """Declares that what earlier files have of this step and later ones is void."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes a number."""
        from tensorboardX.summary import scalar

        self._write(step, summary=scalar(tag, value))

    def picture(self, tag: str, file: Path, step: int) -> None:
        """Writes a picture."""
        from tensorboardX.summary import image

        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._write(step, summary=image(tag, pixels, dataformats="HWC"))

    def flush(self) -> None:
        """Returns when all is on the disk."""
        self._writer.flush()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))


def _words(prompt: str) -> str:
    return re.sub(r"\W+", "-", prompt).strip("-")
