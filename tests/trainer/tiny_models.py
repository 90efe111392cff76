"""Tiny Stable Diffusion models: the layouts of the 1.x, 2.x and XL releases, with random weights, for 64 pixels."""

from pathlib import Path
from typing import Literal, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from dreambooth_trainer import embedded
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from tests.trainer.tiny_parts import autoencoder, enlarge

T = TypeVar("T", CLIPTextModel, CLIPTextModelWithProjection)

Layout = Literal["1.x", "2.x", "xl"]

SIZE = 64
"""Native side of the pictures."""

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def build(layout: Layout) -> DiffusionPipeline:
    """A pipeline with the options that distinguish the layouts, and the tokenizer of the embedded model."""
    if layout == "xl":
        return _build_xl()
    first = layout == "1.x"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1 if first else 2)
        return StableDiffusionPipeline(
            vae=_vae(0.18215),
            text_encoder=_text_encoder(CLIPTextModel, "quick_gelu" if first else "gelu"),
            tokenizer=_tokenizer(),
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
    from dreambooth_trainer.models.loading import load_model

    model = load_model(Model(source=str(folder)), torch.device("cpu"), torch.float32)
    assert isinstance(model, StableDiffusion)
    return model


def _build_xl() -> StableDiffusionXLPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return StableDiffusionXLPipeline(
            vae=_vae(0.13025),
            text_encoder=_text_encoder(CLIPTextModel, "quick_gelu", growth=4),
            text_encoder_2=_text_encoder(CLIPTextModelWithProjection, "gelu", hidden_size=48, growth=4),
            tokenizer=_tokenizer(),
            # OpenCLIP pads with the token 0 and not with the end.
            tokenizer_2=_tokenizer(pad_token="!"),
            unet=UNet2DConditionModel(
                sample_size=SIZE // 8,
                block_out_channels=(32, 64, 64),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=[1, 1, 2],
                layers_per_block=2,
                cross_attention_dim=32 + 48,
                norm_num_groups=8,
                attention_head_dim=[2, 4, 4],
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=16,
                projection_class_embeddings_input_dim=6 * 16 + 48,
            ),
            scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading"),
            feature_extractor=None,
            image_encoder=None,
            add_watermarker=False,
        )


def _tokenizer(**settings: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(embedded.path("emoji") / "pipeline" / "tokenizer", **settings)


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


def _vae(scaling_factor: float) -> AutoencoderKL:
    return autoencoder(layers_per_block=2, sample_size=SIZE, scaling_factor=scaling_factor)


def _text_encoder(kind: type[T], activation: str, hidden_size: int = 32, growth: float = 10) -> T:
    encoder = kind(
        CLIPTextConfig(
            vocab_size=3000,
            max_position_embeddings=24,
            hidden_size=hidden_size,
            projection_dim=hidden_size,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            hidden_act=activation,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    return enlarge(encoder, growth)
