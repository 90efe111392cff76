"""Common parts of the three trainings: limits, learning rate schedule, loop and moving average."""

import copy
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])
Module = TypeVar("Module", bound=nn.Module)

MAX_GRADIENT_NORM = 1.0
STEPS_BETWEEN_REPORTS = 250


@dataclass(frozen=True)
class Run:
    """Batch size and limits of the training of one model. The first limit that is reached ends it."""

    batch: int
    seconds: float = math.inf
    steps: float = math.inf
    compile: bool = False

    def shares(self) -> Iterator[float]:
        """Yields the finished share of the run before each step, in 0..1. Learning rates depend on it."""
        start = time.monotonic()
        for step in itertools.count():
            share = max((time.monotonic() - start) / self.seconds, step / self.steps)
            if share >= 1:
                return
            yield share

    def compiled(self, function: Function) -> Function:
        """The function, compiled if the run asks for it."""
        return cast(Function, torch.compile(function)) if self.compile else function


@dataclass(frozen=True)
class Rate:
    """A learning rate schedule: warm-up over some steps, constant up to a share of the run, then a cosine decay."""

    peak: float
    warm_up_steps: int
    constant: float = 0.0
    floor: float = 0.02

    def at(self, step: int, share: float) -> float:
        """The learning rate of a step (from 0) at a finished share of the run."""
        falling = max(0.0, (share - self.constant) / (1 - self.constant))
        cosine = 0.5 * (1 + math.cos(math.pi * falling))
        return self.peak * min(1.0, (step + 1) / self.warm_up_steps) * (self.floor + (1 - self.floor) * cosine)


def fit(
    name: str,
    run: Run,
    optimizer: torch.optim.Optimizer,
    rate: Rate,
    loss_of_batch: Callable[[], Tensor],
    after_step: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Runs the training loop, and returns the loss of every step.

    `loss_of_batch` samples a batch and returns its loss; `after_step` gets the number of steps done.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    losses: list[Tensor] = []
    for step, share in enumerate(run.shares()):
        for group in optimizer.param_groups:
            group["lr"] = rate.at(step, share)
        loss = loss_of_batch()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        optimizer.step()
        after_step(step + 1)
        # Stays on the device: reading a loss makes the host wait for the device.
        losses.append(loss.detach())
        if step % STEPS_BETWEEN_REPORTS == 0:
            logger.info("%s: step %d, %.0f %% over, loss %.4f", name, step, 100 * share, loss.item())
    return torch.stack(losses).tolist() if losses else []


class Average(Generic[Module]):
    """The exponential moving average of a module's parameters, with a lower decay in the first steps."""

    def __init__(self, module: Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._source, self._decay = module, decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Updates the average after a step (from 1)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(self._source.parameters()), 1 - decay)


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in bfloat16, which has a large range and needs no loss scaling."""
    return torch.autocast(device.type, torch.bfloat16)
