"""Exponential moving average of the weights that a process holds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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

    @contextmanager
    def in_place_of(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """The tensors have their averages as values until the block ends. They stay at their places in memory."""
        self._exchange(tensors)
        try:
            yield
        finally:
            self._exchange(tensors)

    @torch.no_grad()
    def _exchange(self, tensors: Sequence[Tensor]) -> None:
        # One at a time: a copy of all of them may not fit into the memory.
        for tensor, average in zip(tensors, self.tensors, strict=True):
            before = tensor.clone()
            tensor.copy_(average)
            average.copy_(before)
