"""Builds a model of Stable Diffusion 1.5's size with random weights: `python -m benchmarks.random_model FOLDER`.

Speed and memory do not depend on the values of the weights, so that a machine without a real model can be measured.
`programs.py` starts it as a separate process, whose memory is released when it ends.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dreambooth_trainer import embedded
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.process.storage import atomic_folder

AUTOENCODER: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
"""Layers of the autoencoders of Stable Diffusion, and of FLUX.1 and Z-Image."""


def clip_l() -> CLIPTextModel:
    """The text encoder of Stable Diffusion 1.5, one of those of SDXL and of FLUX.1: CLIP ViT-L/14's."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49_408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
        )
    )


def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of the embedded model, padded to the 77 tokens of CLIP: its ids use only some of the 49,408 rows."""
    return CLIPTokenizer.from_pretrained(embedded.path("emoji") / "pipeline" / "tokenizer", model_max_length=77)


def build() -> StableDiffusionPipeline:
    """The architecture of Stable Diffusion 1.5; only dimensions that differ from diffusers' defaults are given.

    Random numbers for 1.1 billion weights take half a minute on a CPU, so a GPU generates them if there is one.
    """
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    vae = AutoencoderKL(sample_size=512, **AUTOENCODER)
    text_encoder = clip_l()
    tokenizer = clip_tokenizer()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    parts = {"unet": unet, "vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer, "scheduler": scheduler}
    return StableDiffusionPipeline(**parts, **StableDiffusion.without)


if __name__ == "__main__":
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with atomic_folder(Path(sys.argv[1])) as folder, torch.device(device):
        build().save_pretrained(folder)
