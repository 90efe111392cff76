"""Exponential moving average of the weights that a process holds."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Average:
    """The average of float32 tensors."""

    def __init__(self, tensors: Sequence[Tensor], decay: float) -> None:
        self.tensors = [tensor.detach().clone() for tensor in tensors]
        self._decay = decay

    @torch.no_grad()
    def update(self, tensors: Sequence[Tensor], step: int) -> None:
        """Updates the average after a step, counted from 0; see `training.ema.decay`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.tensors, list(tensors), 1 - decay)

    @torch.no_grad()
    def copy_to(self, tensors: Sequence[Tensor]) -> None:
        """Replaces the tensors with their average."""
        for tensor, average in zip(tensors, self.tensors, strict=True):
            tensor.copy_(average)
