"""Stable Diffusion in a single file, in the layout of the CompVis and Stability releases that `from_single_file` reads.

The names are the inverse of the mapping in diffusers' `loaders/single_file_utils.py`. Called by the export of Stable
Diffusion.
"""

import re
from collections.abc import Iterable, Iterator

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor
from transformers import PreTrainedModel

from dreambooth_trainer.models.stable_diffusion.published import TEXT_MODEL, TEXT_PROJECTION, text_tensors

Renames = list[tuple[str, str]]
"""Regular expressions and their replacements, applied to a name one after the other."""

UNET_OUTSIDE: Renames = [
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
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


def single_file_tensors(pipeline: DiffusionPipeline) -> dict[str, Tensor]:
    """Tensors of a pipeline under the names of a single-file checkpoint."""
    tensors = {
        **_prefixed("model.diffusion_model.", _unet(pipeline.unet)),
        **_prefixed("first_stage_model.", _autoencoder(pipeline.vae)),
        **_text_encoders(pipeline),
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _text_encoders(pipeline: DiffusionPipeline) -> dict[str, Tensor]:
    """Stable Diffusion 1.x has CLIP's text encoder, 2.x (recognised by its activation) OpenCLIP's, SDXL both."""
    first = pipeline.text_encoder
    if second := pipeline.components.get("text_encoder_2"):
        return {
            **_prefixed("conditioner.embedders.0.transformer.", text_tensors(first).items()),
            **_prefixed("conditioner.embedders.1.model.", _open_clip(second)),
        }
    if first.config.hidden_act != "gelu":
        return _prefixed("cond_stage_model.transformer.", text_tensors(first).items())
    return _prefixed("cond_stage_model.model.", _open_clip(first))


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


def _open_clip(text_encoder: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Tensors under OpenCLIP's names: one matrix for q, k and v, and a projection that is multiplied from the right."""
    tensors = {name.removeprefix(TEXT_MODEL): tensor for name, tensor in text_tensors(text_encoder).items()}
    for name, tensor in tensors.items():
        attention = re.match(r"(.*\.self_attn)\.([qkv])_proj\.(weight|bias)$", name)
        if name.startswith(TEXT_PROJECTION):
            yield "text_projection", tensor.T
        elif attention is None:
            yield _rename(name, OPEN_CLIP), tensor
        elif attention[2] == "q":
            parts = [tensors[f"{attention[1]}.{part}_proj.{attention[3]}"] for part in "qkv"]
            yield _rename(f"{attention[1]}.in_proj_{attention[3]}", OPEN_CLIP), torch.cat(parts)


def _rename(name: str, renames: Renames) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _prefixed(prefix: str, items: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in items}
