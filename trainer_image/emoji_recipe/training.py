"""What the three trainings share: how long they run, the learning rate, the update and the moving average."""

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
    """How broadly and how long one model is trained: whichever limit comes first ends it."""

    batch: int
    seconds: float = math.inf
    steps: float = math.inf
    compile: bool = False

    def shares(self) -> Iterator[float]:
        """Before each step yields the share of the run that is over, in 0..1; learning rates are functions of it."""
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
    """A learning rate: warm-up over some steps, constant up to a share of the run, then a falling cosine."""

    peak: float
    warm_up_steps: int
    constant: float = 0.0
    floor: float = 0.02

    def at(self, step: int, share: float) -> float:
        """The rate of a step (from 0) before which `share` of the run is over."""
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
    """Runs the loop that all trainings have; returns the loss of every step.

    `loss_of_batch` draws a batch and gives its loss; `after_step` gets the number of steps made.
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
        # Kept on the device: reading each loss would make every step wait for it.
        losses.append(loss.detach())
        if step % STEPS_BETWEEN_REPORTS == 0:
            logger.info("%s: step %d, %.0f %% over, loss %.4f", name, step, 100 * share, loss.item())
    return torch.stack(losses).tolist() if losses else []


class Average(Generic[Module]):
    """The exponential moving average of a module's parameters, quicker while it is young."""

    def __init__(self, module: Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._source, self._decay = module, decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the parameters after a step (from 1)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.module.parameters()), list(self._source.parameters()), 1 - decay)


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products and convolutions in bfloat16, whose range needs no loss scaling."""
    return torch.autocast(device.type, torch.bfloat16)
