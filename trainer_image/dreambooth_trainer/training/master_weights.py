"""The float32 master weights that the optimizer updates and the optimizer's states, in the places that depend on the
ZeRO stage. Used by `engine.py`.

Without sharding, the master weights are the parameters themselves. Else DeepSpeed stores them separately, and the
network computes with a rounded copy.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_local_fp32_param,
    safe_set_full_fp32_param,
    safe_set_local_fp32_param,
)
from torch import Tensor
from torch.nn import Parameter


@dataclass(frozen=True)
class Piece:
    """Elements of a trained parameter that this process holds."""

    parameter: str
    """Name of the parameter."""
    start: int
    """Number of the first element in the flattened parameter."""
    length: int
    holder: int
    """Index in `Masters.local` of the tensor that contains them."""
    offset: int
    """Position of the first element in that tensor."""

    def of(self, tensor: Tensor) -> Tensor:
        """The elements in a tensor of the holder's shape: weights, states, or averages."""
        return tensor if self.length == tensor.numel() else tensor.narrow(0, self.offset, self.length)


class Masters:
    """Master weights of the trained parameters. All processes must make the same calls."""

    def __init__(self, optimizer: Any, learning: Mapping[str, Parameter], *, stage: int, rank: int) -> None:
        """Finds them in the optimizer that DeepSpeed made.

        Args:
            optimizer: DeepSpeed's optimizer, or at stage 0 PyTorch's.
            learning: the trained parameters by name.
            stage: ZeRO stage.
            rank: rank of this process.
        """
        self._optimizer = optimizer
        self._learning = learning
        self._stage = stage
        self._rank = rank
        match stage:
            case 3:
                self._holders: list[Tensor] = optimizer.fp32_partitioned_groups_flat
            case 1 | 2:
                self._holders = optimizer.single_partition_of_fp32_groups
            case _:
                self._holders = list(learning.values())
        self.local = [holder.detach() for holder in self._holders]
        """The part of the master weights that this process holds."""
        self.pieces = list(self._find_pieces())
        """What is where in `local`."""

    def states(self, holder: int) -> dict[str, Tensor]:
        """The states of PyTorch's optimizer for a tensor of `local`; empty before the first step."""
        states: dict[str, Tensor] = self.base.state[self._holders[holder]]
        return states

    @property
    def base(self) -> torch.optim.Optimizer:
        """PyTorch's optimizer."""
        base: torch.optim.Optimizer = self._optimizer.optimizer if self._stage else self._optimizer
        return base

    @property
    def loss_scaler(self) -> Any:
        """DeepSpeed's scaling of the loss; None without sharding."""
        return self._optimizer.loss_scaler if self._stage else None

    def whole(self, parameter: Parameter) -> Tensor:
        """All master weights of a parameter."""
        if self._stage == 0:
            return parameter.data
        whole = safe_get_full_fp32_param(parameter)
        assert whole is not None, "DeepSpeed has no master weights for a trained parameter"
        return whole

    @torch.no_grad()
    def fill(self, parameter: Parameter, value: Tensor) -> None:
        """Sets the master weights of a parameter. The rounded copy is updated at the next step."""
        match self._stage:
            case 0:
                parameter.copy_(value)
            case 3:
                # All shards have the same length: the last one is padded.
                shard = torch.zeros_like(safe_get_local_fp32_param(parameter))
                mine = value.flatten()[self._rank * len(shard) :][: len(shard)]
                shard[: len(mine)] = mine
                safe_set_local_fp32_param(parameter, shard)
            case _:
                safe_set_full_fp32_param(parameter, value)

    def update_rounded(self) -> None:
        """Updates the rounded copy, after `local` has been changed."""
        optimizer = self._optimizer
        match self._stage:
            case 1 | 2:
                optimizer.update_lp_params()
            case 3:
                # Parameters that are gathered at the moment would keep their old values.
                optimizer.checkpoint_event_prologue()
                for number, exact in enumerate(optimizer.fp32_partitioned_groups_flat):
                    rounded = optimizer.fp16_partitioned_groups_flat[number]
                    rounded.data.copy_(exact.data)
                    shards = optimizer.fp16_partitioned_groups[number]
                    for shard, value in zip(shards, optimizer.unflatten(rounded, shards), strict=True):
                        shard.data = value.data
                optimizer.checkpoint_event_epilogue()

    def _find_pieces(self) -> Iterator[Piece]:
        named: Iterable[tuple[str, Any]] = self._learning.items()
        for number, (name, parameter) in enumerate(named):
            match self._stage:
                case 0:
                    yield Piece(name, 0, parameter.numel(), number, 0)
                case 3:
                    holder, offset, padded = self._optimizer.grad_position[self._optimizer.get_param_id(parameter)]
                    start = self._rank * padded
                    if (length := min(padded, parameter.ds_numel - start)) > 0:
                        yield Piece(name, start, length, holder, offset)
                case _:
                    if mapping := parameter._hp_mapping:
                        held, of_parameter = mapping.hp_fragment_address, mapping.lp_fragment_address
                        yield Piece(name, of_parameter.start, held.numel, mapping.param_group_index, held.start)
