"""Adapters of Stable Diffusion and SDXL in the layout of kohya's scripts, which ComfyUI and other programs read.

A layer's path is part of the tensor's name, with underscores: `lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

PREFIXES = {
    ("unet", "text_encoder"): {"unet": "lora_unet", "text_encoder": "lora_te"},
    ("unet", "text_encoder", "text_encoder_2"): {
        "unet": "lora_unet",
        "text_encoder": "lora_te1",
        "text_encoder_2": "lora_te2",
    },
}
"""Prefixes of the parts, for models with one and with two text encoders."""

FACTORS = {".lora_A.weight": ".lora_down.weight", ".lora_B.weight": ".lora_up.weight"}
"""Ends of names, in peft and in this layout."""


def kohya_tensors(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Renames adapters.

    Args:
        parts: for each part (`unet`, then the text encoders) its tensors by peft's names, with the scale alpha / rank in
            the second factor.
    """
    prefixes, renamed = PREFIXES[tuple(parts)], {}
    for part, tensors in parts.items():
        for name, tensor in tensors.items():
            end = next(end for end in FACTORS if name.endswith(end))
            layer = f"{prefixes[part]}_{name.removesuffix(end).replace('.', '_')}"
            renamed[layer + FACTORS[end]] = tensor.detach().cpu().contiguous()
            if end == ".lora_A.weight":
                # The scale is alpha / rank.
                renamed[f"{layer}.alpha"] = torch.tensor(float(len(tensor)))
    return renamed
