"""Stable Diffusion in a single file, in the layout of the CompVis and Stability releases that `from_single_file` reads.

The names are the inverse of the mapping in diffusers' `loaders/single_file_utils.py`. Called by the export of Stable
Diffusion.
"""

import re
from collections.abc import Iterable, Iterator

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPTextModel

from dreambooth_trainer.models.stable_diffusion.published import TEXT_MODEL, text_tensors

Renames = list[tuple[str, str]]
"""Regular expressions and their replacements, applied to a name one after the other."""

UNET_OUTSIDE: Renames = [
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
]
RESNET: Renames = [
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.conv_shortcut\.", ".skip_connection."),
]
AUTOENCODER: Renames = [
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.up_blocks\.(\d+)\.resnets\.", r".up.\1.block."),
    (r"\.up_blocks\.(\d+)\.upsamplers\.0\.", r".up.\1.upsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
]
OPEN_CLIP: Renames = [
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^final_layer_norm\.", "ln_final."),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm1\.", ".ln_1."),
    (r"\.layer_norm2\.", ".ln_2."),
    (r"\.fc1\.", ".c_fc."),
    (r"\.fc2\.", ".c_proj."),
    (r"\.self_attn\.", ".attn."),
]


def single_file_tensors(pipeline: StableDiffusionPipeline) -> dict[str, Tensor]:
    """Tensors of a pipeline under the names of a single-file checkpoint."""
    tensors = {
        **_prefixed("model.diffusion_model.", _unet(pipeline.unet)),
        **_prefixed("first_stage_model.", _autoencoder(pipeline.vae)),
        **_text_encoder(pipeline.text_encoder),
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _unet(unet: UNet2DConditionModel) -> Iterator[tuple[str, Tensor]]:
    layers = unet.config.layers_per_block + 1
    attends = ["CrossAttn" in kind for kind in unet.config.up_block_types]

    def place(name: str) -> str:
        match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
        if match is None:
            return name
        side, kind, rest = match[1], match[3], match[5]
        block, layer = int(match[2]), int(match[4])
        if side == "down":
            index = block * layers + layer + 1 if kind != "downsamplers" else (block + 1) * layers
            inner = {"resnets": "0", "attentions": "1", "downsamplers": "0.op"}[kind]
            return f"input_blocks.{index}.{inner}.{rest.removeprefix('conv.') if kind == 'downsamplers' else rest}"
        index = block * layers + layer if kind != "upsamplers" else (block + 1) * layers - 1
        inner = {"resnets": "0", "attentions": "1", "upsamplers": "2" if attends[block] else "1"}[kind]
        return f"output_blocks.{index}.{inner}.{rest}"

    for name, tensor in unet.state_dict().items():
        renamed = _rename(place(name), UNET_OUTSIDE)
        yield (_rename(renamed, RESNET) if "resnets" in name else renamed), tensor


def _autoencoder(vae: AutoencoderKL) -> Iterator[tuple[str, Tensor]]:
    highest = len(vae.config.up_block_types) - 1
    for name, tensor in vae.state_dict().items():
        # One layout numbers the decoder's blocks from the picture, the other one from the latents.
        flipped = re.sub(r"up_blocks\.(\d+)", lambda match: f"up_blocks.{highest - int(match[1])}", name)
        convolution = re.search(r"attentions\.0\.to_.*weight$", name)
        yield _rename(flipped, AUTOENCODER), tensor[:, :, None, None] if convolution else tensor


def _text_encoder(text_encoder: CLIPTextModel) -> dict[str, Tensor]:
    """Tensors of the text encoder: CLIP keeps its names (Stable Diffusion 1.x).

    OpenCLIP (2.x, recognised by its activation) has other names, and one matrix for q, k and v.
    """
    if text_encoder.config.hidden_act != "gelu":
        return _prefixed("cond_stage_model.transformer.", text_tensors(text_encoder).items())
    tensors = {name.removeprefix(TEXT_MODEL): tensor for name, tensor in text_tensors(text_encoder).items()}
    merged = {}
    for name, tensor in tensors.items():
        projection = re.match(r"(.*\.self_attn)\.([qkv])_proj\.(weight|bias)$", name)
        if projection is None:
            merged[name] = tensor
        elif projection[2] == "q":
            parts = [tensors[f"{projection[1]}.{part}_proj.{projection[3]}"] for part in "qkv"]
            merged[f"{projection[1]}.in_proj_{projection[3]}"] = torch.cat(parts)
    return _prefixed("cond_stage_model.model.", ((_rename(name, OPEN_CLIP), tensor) for name, tensor in merged.items()))


def _rename(name: str, renames: Renames) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _prefixed(prefix: str, items: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in items}
