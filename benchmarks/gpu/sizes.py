"""The base models of the measurements: the published sizes, from their configurations, with small tokenizers.

Speed and memory do not depend on the values of the weights, which nothing here has. Used by `steps.py`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from diffusers.models.transformers.transformer_krea2 import Krea2Transformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.krea2.pipeline_krea2 import Krea2Pipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from transformers import PreTrainedModel
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM, Qwen3Model
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel

from benchmarks.random_model import AUTOENCODER, build, clip_l, clip_tokenizer
from tests.trainer.tiny_chat import qwen_tokenizer
from tests.trainer.tiny_flow import build_flow
from tests.trainer.tiny_models import build as build_small
from tests.trainer.tiny_parts import t5_tokenizer

SMALL: Mapping[str, Callable[[], DiffusionPipeline]] = {
    "sd1.5": lambda: build_small("1.x"),
    "sdxl": lambda: build_small("xl"),
    "klein-4b": lambda: build_flow("flux2-klein"),
    "z-image": lambda: build_flow("z-image"),
    "flux1-dev": lambda: build_flow("flux1-dev"),
    "qwen-image": lambda: build_flow("qwen-image"),
    "krea2": lambda: build_flow("krea2"),
}
"""The same models in small."""


def write(name: str, folder: Path, *, small: bool) -> None:
    """Writes a model without weights: the configurations of all parts, and the tokenizers."""
    with torch.device("cpu" if small else "meta"):
        pipeline = (SMALL if small else BUILDERS)[name]()
    for part, component in pipeline.components.items():
        if isinstance(component, ModelMixin):
            component.save_config(folder / part)
        elif isinstance(component, PreTrainedModel):
            component.config.save_pretrained(folder / part)
        elif component is not None:
            component.save_pretrained(folder / part)
    pipeline.save_config(folder)


def _sdxl() -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(sample_size=1024, scaling_factor=0.13025, **AUTOENCODER),
        text_encoder=clip_l(),
        text_encoder_2=CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=1280,
                intermediate_size=5120,
                num_hidden_layers=32,
                num_attention_heads=20,
                hidden_act="gelu",
                projection_dim=1280,
            )
        ),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2, 10],
            cross_attention_dim=2048,
            attention_head_dim=[5, 10, 20],
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        scheduler=build().scheduler,
        add_watermarker=False,
    )


def _klein() -> Flux2KleinPipeline:
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(),
        text_encoder=Qwen3ForCausalLM(_qwen3()),
        tokenizer=qwen_tokenizer(),
        transformer=Flux2Transformer2DModel(
            num_layers=5,
            num_single_layers=20,
            num_attention_heads=24,
            joint_attention_dim=3 * 2560,
            guidance_embeds=False,
        ),
    )


def _z_image() -> ZImagePipeline:
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=_flux_autoencoder(),
        text_encoder=Qwen3Model(_qwen3()),
        tokenizer=qwen_tokenizer(),
        transformer=ZImageTransformer2DModel(),
    )


def _flux1() -> FluxPipeline:
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_flux_autoencoder(),
        text_encoder=clip_l(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=T5EncoderModel(
            T5Config(
                vocab_size=32_128,
                d_model=4096,
                d_ff=10_240,
                num_layers=24,
                num_heads=64,
                feed_forward_proj="gated-gelu",
            )
        ),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(guidance_embeds=True),
    )


def _qwen_image() -> QwenImagePipeline:
    text = {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
    }
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
    )
    return QwenImagePipeline(
        scheduler=scheduler,
        vae=AutoencoderKLQwenImage(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config={"out_hidden_size": 3584})
        ),
        tokenizer=qwen_tokenizer(),
        transformer=QwenImageTransformer2DModel(),
    )


def _krea2() -> Krea2Pipeline:
    rope = {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = _qwen3().to_dict() | {"rope_parameters": {**rope, "rope_theta": 5_000_000.0}}
    return Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
        vae=AutoencoderKLQwenImage(),
        text_encoder=Qwen3VLModel(Qwen3VLConfig(text_config=text, vision_config={"out_hidden_size": 2560})),
        tokenizer=qwen_tokenizer(),
        transformer=Krea2Transformer2DModel(),
    )


BUILDERS: Mapping[str, Callable[[], DiffusionPipeline]] = {
    "sd1.5": build,
    "sdxl": _sdxl,
    "klein-4b": _klein,
    "z-image": _z_image,
    "flux1-dev": _flux1,
    "qwen-image": _qwen_image,
    "krea2": _krea2,
}
"""Pipelines of the published sizes. Only dimensions that differ from the defaults of diffusers and transformers are given."""


def _flux_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=1024,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        **AUTOENCODER,
    )


def _qwen3() -> Qwen3Config:
    """Qwen3 4B."""
    return Qwen3Config(
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
    )
