"""The flow-matching families in small: pipelines of the published structure with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_flux2 import AutoencoderKLFlux2
from diffusers.models.transformers.transformer_flux2 import Flux2Transformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM, Qwen3Model

from dreambooth_trainer.models.flow.model import FlowTransformer
from tests.trainer.tiny_parts import LETTERS, TEXT, byte_pairs, enlarge, shifted_autoencoder
from tests.trainer.tiny_t5 import chroma, flux1_dev, stable_diffusion_3_5

FlowFamily = Literal["flux2-klein", "sd3.5", "flux1-dev", "chroma", "z-image"]

SIZE = 64
"""Side of the pictures in the tests."""

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def build_flow(family: FlowFamily) -> DiffusionPipeline:
    """A pipeline of a family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return BUILDERS[family]()


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer of Qwen's kind, whose words begin with their space, with its template of a chat."""
    vocabulary, merges = byte_pairs(LETTERS, (f"Ġ{word}" for word in TEXT.split()))
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT
    tokenizer.model_max_length = 512
    return tokenizer


def qwen3(layers: int) -> Qwen3Config:
    """A language model of Qwen3's kind."""
    return Qwen3Config(
        vocab_size=len(qwen_tokenizer()),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=1024,
    )


def _flux2_klein() -> Flux2KleinPipeline:
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
    )
    with torch.no_grad():
        vae.bn.running_mean.uniform_(-0.5, 0.5)
        vae.bn.running_var.uniform_(0.5, 2)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(qwen3(layers=28)),
        tokenizer=qwen_tokenizer(),
        transformer=enlarge(transformer, 3),
    )


def _z_image() -> ZImagePipeline:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=(4, 6, 6),
    )
    with torch.no_grad():
        for padding in (transformer.x_pad_token, transformer.cap_pad_token):
            padding.normal_()
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=shifted_autoencoder(),
        text_encoder=Qwen3Model(qwen3(layers=2)),
        tokenizer=qwen_tokenizer(),
        transformer=enlarge(transformer, 3),
    )


BUILDERS: dict[FlowFamily, Callable[[], DiffusionPipeline]] = {
    "flux2-klein": _flux2_klein,
    "sd3.5": stable_diffusion_3_5,
    "flux1-dev": flux1_dev,
    "chroma": chroma,
    "z-image": _z_image,
}


def loaded_flow(folder: Path, precision: torch.dtype = torch.float32) -> FlowTransformer:
    """The trainer's own model of a folder."""
    from dreambooth_api.training import Model
    from dreambooth_trainer.models.loading import load_model

    loaded = load_model(Model(source=str(folder)), torch.device("cpu"), precision, weights=precision)
    assert isinstance(loaded, FlowTransformer)
    return loaded
