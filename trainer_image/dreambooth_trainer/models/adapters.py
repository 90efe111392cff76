"""Low-rank adapters of a model's modules, under the names of peft, which diffusers reads for every kind of layer."""

from collections.abc import Mapping
from typing import TypeAlias, cast

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.peft_utils import recurse_remove_peft_layers
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.save_and_load import get_peft_model_state_dict
from torch import Tensor
from transformers import PreTrainedModel

Adapted: TypeAlias = ModelMixin | PreTrainedModel
"""A module that can have adapters."""


def adapter_layers(module: Adapted, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapter tensors of a module as files hold them; empty for a module without adapters.

    The tensors include the scale alpha / rank, since not every program reads alpha from the files.
    """
    if not tensors:
        return {}
    settings = module.peft_config["default"]
    scale = settings.lora_alpha / settings.r
    scaled = {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in tensors.items()}
    return cast(dict[str, Tensor], get_peft_model_state_dict(module, scaled))


def merge_adapters(module: Adapted, device: torch.device) -> None:
    """Adds the adapters of a module to its weights and removes them.

    Args:
        module: the module, which stays where it is.
        device: device that computes, layer by layer.
    """
    own = module.device
    for layer in module.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.to(device).merge()
            layer.to(own)
    recurse_remove_peft_layers(module)
    module._hf_peft_config_loaded = False
