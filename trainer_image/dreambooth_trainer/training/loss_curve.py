"""The loss curve on disk: a JSON line for each optimizer step, written by `train`, read by the report. Needs no torch."""

import json
from pathlib import Path
from typing import TypedDict


class Line(TypedDict):
    """An optimizer step."""

    step: int
    """Number of the step, from 1."""
    loss: float
    """Loss of the photos."""
    priorLoss: float
    """Loss of the class images, unweighted; 0 without them."""
    learningRate: float
    """Learning rate of the denoiser."""
    gradNorm: float | None
    """Global norm of the gradients before clipping; None if it is infinite, as in steps that loss scaling skips."""


def read_losses(path: Path) -> list[Line]:
    """Lines of a loss curve, without an incomplete last line after a kill."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
