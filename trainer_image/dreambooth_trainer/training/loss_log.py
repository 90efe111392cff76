"""Writes the loss curve during the training; see `loss_curve.py`."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import write_atomically
from dreambooth_trainer.training.loss_curve import Line, read_losses

if TYPE_CHECKING:
    from dreambooth_trainer.training.engine import StepOutcome


class LossLog:
    """Collects the losses of steps on the device and writes several at a time, since each read waits for the device."""

    def __init__(self, path: Path, distributed: Distributed, *, resumed_at: int) -> None:
        """Continues after step `resumed_at`. Lines of later steps, from an interrupted start, are removed."""
        self._path = path
        self._distributed = distributed
        self._pending: list[tuple[int, StepOutcome]] = []
        if distributed.is_main:
            kept = [line for line in read_losses(path) if line["step"] <= resumed_at]
            write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, step: int, outcome: "StepOutcome") -> None:
        """Adds a step, counted from 1."""
        self._pending.append((step, outcome))

    def flush(self) -> list[Line]:
        """Writes the collected steps, averaged over the processes, and returns them. All processes must call it.

        Raises:
            NonFiniteLoss: a loss is NaN or infinite.
        """
        if not self._pending:
            return []
        losses = torch.stack([outcome.losses for _, outcome in self._pending])
        losses = self._distributed.mean(losses)
        lines: list[Line] = [
            {
                "step": step,
                "loss": subject,
                "priorLoss": class_,
                "learningRate": outcome.learning_rate,
                "gradNorm": norm if math.isfinite(norm := float(outcome.grad_norm or 0)) else None,
            }
            for (step, outcome), (subject, class_) in zip(self._pending, losses.tolist(), strict=True)
        ]
        self._pending = []
        for line in lines:
            if not math.isfinite(line["loss"] + line["priorLoss"]):
                raise NonFiniteLoss(
                    f"the loss became {line['loss'] + line['priorLoss']} at step {line['step']}. Lower "
                    "training.learningRate, lengthen training.warmupSteps, or use mixedPrecision bf16 or fp32 instead "
                    "of fp16."
                )
        if self._distributed.is_main:
            with self._path.open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        return lines
