"""Copies of a model's parts on the device that computes.

The parts themselves stay in the host's memory, where they were loaded: weights whose number format doesn't change are pages of
their files, which the processes of a machine share and the system can drop. So a part leaves the device when its copy is
deleted, and nothing is moved back.
"""

from copy import deepcopy
from itertools import chain
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_trainer.models.base import exact_weights

Part = TypeVar("Part", bound=ModelMixin | PreTrainedModel)


def on_device(part: Part, device: torch.device, precision: torch.dtype | None = None) -> Part:
    """The part, or a frozen copy of it, with its weights on the device.

    Args:
        part: a module.
        device: the device.
        precision: number format of the weights; None for their own one. Autocast would convert them in every pass.
    """
    if precision == part.dtype:
        precision = None
    if precision is None and part.device == device:
        return part
    exact = set() if precision is None else exact_weights(part, precision)
    copies: dict[int, Any] = {
        id(weights): nn.Parameter(weights.to(device, None if name in exact else precision), False)
        for name, weights in part.named_parameters()
    }
    copies |= {id(buffer): buffer.to(device) for buffer in part.buffers()}
    # Constants, such as tables of rotary embeddings, are no part of a module's state; the original and its copy share them.
    attributes = chain.from_iterable(vars(module).values() for module in part.modules())
    copies |= {id(constant): constant for constant in attributes if isinstance(constant, Tensor)}
    return deepcopy(part, copies)
