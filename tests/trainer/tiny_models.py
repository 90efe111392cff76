"""Stable Diffusion in small: the layouts of the 1.x and 2.x releases, block for block, with random weights, for 64 pixels."""

from pathlib import Path
from typing import Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers import DDIMScheduler, PNDMScheduler
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from dreambooth_trainer import embedded
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion

Layout = Literal["1.x", "2.x"]

SIZE = 64
"""Native side of the pictures."""

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def build(layout: Layout) -> StableDiffusionPipeline:
    """A pipeline with the options that tell the layouts apart, and the tokenizer of the embedded model."""
    first = layout == "1.x"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1 if first else 2)
        return StableDiffusionPipeline(
            vae=_vae(),
            text_encoder=_text_encoder("quick_gelu" if first else "gelu"),
            tokenizer=CLIPTokenizer.from_pretrained(embedded.path("emoji") / "pipeline" / "tokenizer"),
            unet=_unet(first),
            scheduler=PNDMScheduler(**SCHEDULE, skip_prk_steps=True)
            if first
            else DDIMScheduler(**SCHEDULE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def loaded(folder: Path) -> StableDiffusion:
    """The trainer's own model of a folder."""
    from dreambooth_api.training import Model
    from dreambooth_trainer.models.stable_diffusion.loading import load_stable_diffusion

    return load_stable_diffusion(Model(source=str(folder)), torch.device("cpu"), torch.float32)


def _unet(first: bool) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=32,
        norm_num_groups=8,
        # Despite the name a number of heads; the 2.x releases give one for each block.
        attention_head_dim=4 if first else [2, 2, 4, 4],
        use_linear_projection=not first,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
        scaling_factor=0.18215,
    )


def _text_encoder(activation: str) -> CLIPTextModel:
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=3000,
            max_position_embeddings=24,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            hidden_act=activation,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    with torch.no_grad():
        # Of the usual size, random embeddings hardly move a picture; here prompts shall matter.
        for parameter in encoder.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    return encoder
