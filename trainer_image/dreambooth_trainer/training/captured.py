"""A step on one device without sharding: forward, backward, clipping and AdamW; on a GPU one CUDA graph. Used by `engine.py`.

A step of Stable Diffusion launches some thousand kernels, which a GPU finishes faster than a host can launch them one by one.
A graph launches them all at once, with the same results.
"""

from dataclasses import fields
from typing import Protocol

import torch
from torch import Tensor

from dreambooth_api.training import Training
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.module import Trainee
from dreambooth_trainer.training.randomness import Draw

WARM_UP_STEPS = 3
"""Steps before the capture, in which libraries choose their kernels and the optimizer makes its states."""


class Graph(Protocol):
    """What can be launched again and again."""

    def replay(self) -> None:
        """Launches all that was recorded."""
        ...


class CapturedStep:
    """One optimizer step after the other; every call takes a draw of the same shapes.

    What a graph reads and writes stays at its place: parameters, gradients, optimizer states, `dataset`, and one draw that each
    step's draw is copied into.
    """

    def __init__(
        self, trainee: Trainee, optimizer: torch.optim.Optimizer, training: Training, precision: torch.dtype
    ) -> None:
        self._trainee = trainee
        self._optimizer = optimizer
        self._training = training
        self._precision = precision
        self._learning = [parameter for _, parameter in trainee.learning()]
        self._device = self._learning[0].device
        self._captures = self._device.type == "cuda"
        self._calls = 0
        self._graph: Graph | None = None

    def __call__(self, draw: Draw, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Takes a step and returns the losses of subject and class, [2], and the norm of the gradient."""
        if not self._captures:
            return self._take(draw, dataset)
        if self._calls == 0:
            # A number would be part of the graph; a tensor is read at each replay. A checkpoint holds tensors of the host.
            for group in self._optimizer.param_groups:
                group["lr"] = torch.as_tensor(group["lr"], device=self._device)
        self._calls += 1
        if self._calls <= WARM_UP_STEPS:
            return self._take_aside(draw, dataset)
        if self._graph is None:
            self._draw = Draw(*(getattr(draw, field.name).clone() for field in fields(Draw)))
            self._graph = self._record(dataset)
        for name in (field.name for field in fields(Draw)):
            getattr(self._draw, name).copy_(getattr(draw, name))
        self._graph.replay()
        losses, norm = self._outcome
        return losses.clone(), norm.clone()

    def _take(self, draw: Draw, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """The step as the host sees it; nothing in it asks the device."""
        training = self._training
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for part in range(training.gradient_accumulation_steps):
            rows = draw.rows(part * training.batch_size, (part + 1) * training.batch_size)
            # Autocast would look for weights that it converted before the capture, which a graph can't read.
            with torch.autocast(
                self._device.type, self._precision, enabled=self._precision != torch.float32, cache_enabled=False
            ):
                loss = self._trainee(rows, dataset)
            (loss.total / training.gradient_accumulation_steps).backward()
            losses.append(torch.stack([loss.subject, loss.class_]).detach())
        norm = torch.nn.utils.clip_grad_norm_(self._learning, training.max_grad_norm)
        self._optimizer.step()
        return torch.stack(losses).mean(0), norm

    def _take_aside(self, draw: Draw, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """A step on a stream that is not the default one, since autograd remembers the stream of each parameter's first step."""
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            outcome = self._take(draw, dataset)
        current.wait_stream(aside)
        return outcome

    def _record(self, dataset: Dataset) -> Graph:
        """Records the step on `self._draw`, without taking it; replays leave its outcome in `self._outcome`."""
        # The graph's own memory replaces that of the steps so far.
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outcome = self._take(self._draw, dataset)
        return graph
