"""A run in Weights & Biases: files in the folder `wandb` of the run, which are also sent with `mode: online`."""

import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from dreambooth_api.training import Wandb
from dreambooth_trainer.monitoring.trackers import Scalars, scalars_of
from dreambooth_trainer.process.storage import write_atomically

PATIENCE = 60
"""Seconds to wait for the service at the beginning and at the end."""


class WeightsAndBiases:
    """A tracker that logs to Weights & Biases.

    Online, all starts of a run are one run there, which ignores steps that it has. Files of offline runs can't be appended to
    each other, so each start is a run there, in a group with the name of the folder.
    """

    def __init__(self, settings: Wandb, folder: Path, config: Mapping[str, Any]) -> None:
        """Begins or continues the run.

        Args:
            settings: where to log.
            folder: folder of the run.
            config: all settings of the run.
        """
        os.environ.setdefault("WANDB_SILENT", "true")
        # No reports about errors of the library to its authors.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        online = settings.mode == "online"
        self._run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            mode=settings.mode,
            name=folder.name,
            id=_identity(folder / "wandb" / "id") if online else None,
            resume="allow" if online else None,
            group=None if online else folder.name,
            dir=folder,
            config=dict(config),
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, save_code=False, init_timeout=PATIENCE
            ),
        )

    def begin(self, step: int, earlier: Sequence[Mapping[str, Any]]) -> None:
        """Nothing is to be done; see the class."""

    def steps(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Logs the numbers of steps."""
        for line in lines:
            self._run.log(scalars_of(line), step=line["step"])

    def pictures(self, step: int, files: Mapping[str, Path]) -> None:
        """Logs pictures."""
        self._log(step, {f"pictures/{prompt}": file for prompt, file in files.items()})

    def results(self, step: int, figures: Scalars, files: Mapping[str, Path]) -> None:
        """Logs the figures as the summary of the run."""
        self._run.summary.update({f"figures/{name}": value for name, value in figures.items()})
        self._log(step, {f"sheets/{name}": file for name, file in files.items()})

    def close(self) -> None:
        """Ends the run. A service that does not respond any more must not hold up the end of the training.

        Raises:
            TimeoutError: not everything could be sent in time; `wandb sync` can send the files.
        """
        ended: Future[None] = Future()
        threading.Thread(target=self._finish, args=[ended], daemon=True).start()
        try:
            ended.result(PATIENCE)
        except TimeoutError as error:
            raise TimeoutError(
                f"not everything was sent within {PATIENCE} seconds. Run wandb sync in the folder"
            ) from error

    def _finish(self, ended: "Future[None]") -> None:
        try:
            ended.set_result(self._run.finish())
        except BaseException as error:
            ended.set_exception(error)

    def _log(self, step: int, files: Mapping[str, Path]) -> None:
        import wandb

        if files:
            self._run.log({name: wandb.Image(str(file)) for name, file in files.items()}, step=step)


def _identity(file: Path) -> str:
    """The identity of the run, which the first start chooses."""
    if not file.exists():
        write_atomically(file, secrets.token_hex(8))
    return file.read_text()
