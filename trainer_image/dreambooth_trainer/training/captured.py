"""A training step on one device without sharding: forward, backward, clipping and AdamW; on a GPU a CUDA graph, if its
shapes are fixed. Used by `engine.py`.

A step of Stable Diffusion launches some thousand kernels. A GPU finishes them faster than the host can launch them one
by one. A graph launches all of them at once, with the same results.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import Division
from dreambooth_trainer.training.micro_batches import MicroBatch
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.randomness import StepRandomness

WARM_UP_STEPS = 3
"""Steps before the capture, in which libraries choose their kernels and the optimizer creates its states."""


class Graph(Protocol):
    """A CUDA graph that has been captured."""

    def replay(self) -> None:
        """Launches the captured kernels."""
        ...


class _Rounded(torch.autograd.Function):
    """Converts weights to another number format with a few kernels for all of them. The gradients have the format of
    the weights."""

    @staticmethod
    def forward(ctx: Any, precision: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        rounded = [torch.empty_like(one, dtype=precision) for one in weights]
        torch._foreach_copy_(rounded, weights)
        return tuple(rounded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        exact = [None if one is None else torch.empty_like(one, dtype=torch.float32) for one in gradients]
        torch._foreach_copy_([one for one in exact if one is not None], [one for one in gradients if one is not None])
        return None, *exact


class _ForwardAndBackward(nn.Module):
    """Forward and backward pass in one module, so that gradient checkpointing recomputes with the same weights."""

    def __init__(self, module: DreamBoothModule, share: float) -> None:
        super().__init__()
        self.module = module
        self._share = share

    def forward(self, randomness: StepRandomness, dataset: Dataset) -> Tensor:
        loss = self.module(randomness, dataset)
        (loss.total * self._share).backward()
        return torch.stack([loss.subject, loss.class_]).detach()


class CapturedStep:
    """Optimizer steps with random numbers of equal shapes.

    A graph reads and writes fixed memory addresses: parameters, gradients, optimizer states, the dataset, and `_batches`,
    into which each step's random numbers are copied.
    """

    def __init__(
        self,
        module: DreamBoothModule,
        optimizer: torch.optim.Optimizer,
        division: Division,
        precision: torch.dtype,
    ) -> None:
        self._optimizer = optimizer
        self._max_grad_norm = module.training_settings.max_grad_norm
        self._precision = precision
        learning = dict(module.learning())
        self._learning = list(learning.values())
        exact = module.exact_weights(precision)
        self._to_round = {f"module.{name}": weights for name, weights in learning.items() if name not in exact}
        self._passes = _ForwardAndBackward(module, 1 / len(division.parts))
        self._device = self._learning[0].device
        self._captures = self._device.type == "cuda" and module.model.fixed_shapes and division.one_size
        self._calls = 0
        self._aside: torch.cuda.Stream | None = None
        self._graph: Graph | None = None

    def __call__(self, batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
        """Runs a step, and returns the losses of subject and class, [2], and the norm of the gradients."""
        if not self._captures:
            return self._take(batches)
        if self._calls == 0:
            # A number would be a constant in the graph; a tensor is read at each replay. A checkpoint holds tensors on
            # the CPU.
            for group in self._optimizer.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], device=self._device)
        self._calls += 1
        if self._calls <= WARM_UP_STEPS:
            return self._take_aside(batches)
        names = [field.name for field in fields(StepRandomness)]
        if self._graph is None:
            self._batches = [
                MicroBatch(StepRandomness(*(getattr(one.randomness, name).clone() for name in names)), one.dataset)
                for one in batches
            ]
            self._graph = self._record()
        for fixed, new in zip(self._batches, batches, strict=True):
            for name in names:
                getattr(fixed.randomness, name).copy_(getattr(new.randomness, name))
        self._graph.replay()
        losses, norm = self._outcome
        return losses.clone(), norm.clone()

    def _take(self, batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
        """Runs a step without waiting for the device."""
        self._optimizer.zero_grad(set_to_none=True)
        losses = [self._both_passes(*batch) for batch in batches]
        norm = torch.nn.utils.clip_grad_norm_(self._learning, self._max_grad_norm)
        self._optimizer.step()
        return torch.stack(losses).mean(0), norm

    def _both_passes(self, rows: StepRandomness, dataset: Dataset) -> Tensor:
        """Adds to the gradients, and returns the losses, [2]."""
        if self._precision == torch.float32:
            return self._passes(rows, dataset)
        rounded = _Rounded.apply(self._precision, *self._to_round.values())
        weights = dict(zip(self._to_round, rounded, strict=True))
        return torch.func.functional_call(self._passes, weights, (rows, dataset))

    def _take_aside(self, batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
        """Runs a step on a separate stream: autograd stores the stream of each parameter's first step, and capture
        can't use the default one."""
        # One stream for all these steps, since each stream keeps its memory.
        self._aside = self._aside or torch.cuda.Stream()
        current, aside = torch.cuda.current_stream(), self._aside
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            outcome = self._take(batches)
        current.wait_stream(aside)
        return outcome

    def _record(self) -> Graph:
        """Captures a step on `self._batches` without running it. Replays write the results to `self._outcome`."""
        # The memory of the previous steps is released: the graph has its own.
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outcome = self._take(self._batches)
        return graph
