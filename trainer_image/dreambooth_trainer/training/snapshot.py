"""Finds the tensors of a training's state for a checkpoint, and restores them from one. Used by `engine.py`."""

import torch
from torch import Tensor

from dreambooth_trainer.training.ema import Average
from dreambooth_trainer.training.master_weights import Masters, Piece
from dreambooth_trainer.training.state import AVERAGE, WEIGHTS, Part, State, StateReader

STEP = "step"
"""PyTorch's name of the number of optimizer steps, which is no tensor in a checkpoint."""

LOSS_SCALING = "cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis"
"""Numbers of DeepSpeed's dynamic loss scaling that change during a training."""


def state_of(masters: Masters, average: Average | None, share: tuple[int, int]) -> State:
    """The state of a training.

    Args:
        masters: weights and states of the optimizer.
        average: averaged weights, if there are any.
        share: (r, n) to take every n-th piece, from the r-th one on.
    """
    parts, scalars = [], _loss_scaling(masters)
    rank, size = share
    for number, piece in enumerate(masters.pieces):
        states = masters.states(piece.holder)
        if states:
            scalars[STEP] = float(states[STEP])
        if number % size == rank:
            tensors = {name: piece.of(tensor) for name, tensor in _tensors(masters, average, piece).items()}
            parts.append(Part(piece.parameter, piece.start, tensors))
    return State(parts, scalars)


@torch.no_grad()
def restore_state(reader: StateReader, masters: Masters, average: Average | None) -> None:
    """Loads the pieces of this process."""
    for piece in masters.pieces:
        _create_states(reader, masters, piece)
        for name, tensor in _tensors(masters, average, piece).items():
            target = piece.of(tensor)
            target.copy_(reader.read(piece.parameter, name, piece.start, piece.length).view(target.shape))
    if _loss_scaling(masters):
        for name in LOSS_SCALING:
            setattr(masters.loss_scaler, name, reader.scalars[name])
    masters.update_rounded()


def _tensors(masters: Masters, average: Average | None, piece: Piece) -> dict[str, Tensor]:
    """The tensors that contain a piece, by their names in a checkpoint."""
    states = {name: tensor for name, tensor in masters.states(piece.holder).items() if name != STEP}
    averages = {AVERAGE: average.tensors[piece.holder]} if average else {}
    return {WEIGHTS: masters.local[piece.holder], **states, **averages}


def _create_states(reader: StateReader, masters: Masters, piece: Piece) -> None:
    """Creates the optimizer's states for a holder of pieces, as its first step would."""
    states, local = masters.states(piece.holder), masters.local[piece.holder]
    if states or STEP not in reader.scalars:
        return
    group = masters.base.param_groups[0]
    on_device = group["fused"] or group["capturable"]
    states[STEP] = torch.tensor(reader.scalars[STEP], device=local.device if on_device else "cpu")
    for name in set(reader.names(piece.parameter)) - {WEIGHTS, AVERAGE}:
        states[name] = torch.zeros_like(local)


def _loss_scaling(masters: Masters) -> dict[str, float]:
    """State of the loss scaling; empty unless it is dynamic."""
    scaler = masters.loss_scaler
    return {name: getattr(scaler, name) for name in LOSS_SCALING} if getattr(scaler, "dynamic", False) else {}
