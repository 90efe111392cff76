"""Copies of losses, figures and pictures for other programs that show them: TensorBoard and Weights & Biases.

Written by the main process. A tracker that fails is not used any more in this start, and there is a warning: a training must not
fail for it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dreambooth_api.printing import one_line
from dreambooth_trainer.process.termination import redact

Scalars = Mapping[str, float]
"""Numbers by their names; parts of a name are separated by slashes."""
TAGS = {
    "loss": "loss/photos",
    "priorLoss": "loss/class",
    "learningRate": "training/learning-rate",
    "gradNorm": "training/gradient-norm",
}
"""Names of the numbers of a step, by their names in `losses.jsonl`."""


class Tracker(Protocol):
    """What other programs need to know of a run."""

    def begin(self, step: int, earlier: Sequence[Mapping[str, Any]]) -> None:
        """The training goes on after a step: what was written of later steps is void.

        Args:
            step: the step; 0 at the beginning.
            earlier: the lines of the steps up to that one.
        """

    def steps(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Some steps are done.

        Args:
            lines: see `training.loss_log.Line`.
        """

    def pictures(self, step: int, files: Mapping[str, Path]) -> None:
        """Pictures that were generated on the way.

        Args:
            step: the step after which they were generated.
            files: the pictures by their prompts.
        """

    def results(self, step: int, figures: Scalars, files: Mapping[str, Path]) -> None:
        """The results of the run.

        Args:
            step: last step of the training.
            figures: all figures.
            files: contact sheets by their names.
        """

    def close(self) -> None:
        """Nothing follows."""


def scalars_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a step by their names for people."""
    return {name: float(line[key]) for key, name in TAGS.items() if line[key] is not None}


class Trackers:
    """The trackers of a run. Each is opened when it is first used."""

    def __init__(self, openers: Mapping[str, Callable[[], Tracker]], warn: Callable[[str], None]) -> None:
        """Opens nothing yet.

        Args:
            openers: open the trackers, by the fields of the manifest.
            warn: called with a warning.
        """
        self._openers = dict(openers)
        self._open: dict[str, Tracker] = {}
        self._warn = warn
        self.warnings: list[str] = []
        """What went wrong."""

    def tell(self, what: Callable[[Tracker], None]) -> None:
        """Tells all trackers something."""
        for field in list(self._openers):
            self._try(field, what)

    def close(self) -> None:
        """Closes those that are open."""
        self._openers = {field: opener for field, opener in self._openers.items() if field in self._open}
        self.tell(lambda one: one.close())
        self._open.clear()

    def _try(self, field: str, what: Callable[[Tracker], None]) -> None:
        try:
            if field not in self._open:
                self._open[field] = self._openers[field]()
            what(self._open[field])
        except Exception as error:
            del self._openers[field]
            said = one_line(redact(f"{type(error).__name__}: {error}", os.environ))
            warning = f"{field} failed, so this start writes nothing more there: {said}"
            self.warnings.append(warning)
            self._warn(warning)
