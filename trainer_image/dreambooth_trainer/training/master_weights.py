"""The float32 master weights that the optimizer updates, in the places that depend on the ZeRO stage. Used by
`engine.py`.

Without sharding, they are the parameters themselves. Else DeepSpeed stores them separately, and the network computes
with a rounded copy.
"""

from collections.abc import Sequence
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


class Masters:
    """Master weights of the trained parameters. All processes must make the same calls."""

    def __init__(self, optimizer: Any, learning: Sequence[Parameter], *, stage: int, rank: int) -> None:
        """Finds them in the optimizer that DeepSpeed made."""
        self._stage = stage
        self._rank = rank
        match stage:
            case 3:
                self.local: list[Tensor] = optimizer.fp32_partitioned_groups_flat
                """The part of the master weights that this process holds."""
            case 1 | 2:
                self.local = optimizer.single_partition_of_fp32_groups
            case _:
                self.local = [parameter.data for parameter in learning]

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
