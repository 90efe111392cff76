"""Stable Diffusion 1.x and 2.x, and other models of this architecture, such as the embedded model."""

import math
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
)
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.training_utils import compute_snr
from diffusers.utils.peft_utils import recurse_remove_peft_layers
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.clip.modeling_clip import CLIPTextModel

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_api.training import Sampler, Scheduler
from dreambooth_trainer.models.base import Conditioning, GeneratedPictures, LatentMoments, Size
from dreambooth_trainer.models.stable_diffusion.published import save_configuration, save_pipeline, text_name
from dreambooth_trainer.models.stable_diffusion.single_file import single_file_tensors

SCHEDULERS: dict[Scheduler, type[SchedulerMixin]] = {
    "ddpm": DDPMScheduler,
    "euler-ancestral": EulerAncestralDiscreteScheduler,
    "ddim": DDIMScheduler,
    "dpm-solver++": DPMSolverMultistepScheduler,
}

WORD_END = "</w>"
"""End-of-word mark of CLIP's byte-pair encoding."""


class StableDiffusion:
    """A loaded Stable Diffusion model; implements `ModelFamily`.

    All weights are float32. `precision` is the number format of the arithmetic when pictures are generated.
    """

    def __init__(
        self,
        pipeline: StableDiffusionPipeline,
        *,
        device: torch.device,
        precision: torch.dtype,
        digest: str,
        commit: str | None,
    ) -> None:
        self.pipeline = pipeline
        self.device = device
        self.precision = precision
        self.digest = digest
        self.commit = commit
        self.denoiser: UNet2DConditionModel = pipeline.unet
        self.text_encoder: CLIPTextModel = pipeline.text_encoder
        self.vae: AutoencoderKL = pipeline.vae
        # If a tokenizer does not specify the length, transformers assumes a very large one.
        length = min(pipeline.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        pipeline.tokenizer.model_max_length = length
        # Latents can be outside of -1..1, and the scheduler of a checkpoint may not disable clipping.
        self.noising = DDPMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
        self.noising.alphas_cumprod = self.noising.alphas_cumprod.to(device)
        # The pipeline accepts no other sizes, even if its autoencoder does.
        self.size_multiple = math.lcm(8, pipeline.vae_scale_factor)
        self.resolution = int(self.denoiser.config.sample_size) * pipeline.vae_scale_factor
        for module in (self.denoiser, self.text_encoder, self.vae):
            module.requires_grad_(False).eval().to(device)
        self.denoiser.to(memory_format=torch.channels_last)
        self.vae.to(memory_format=torch.channels_last)
        if device.type == "cpu":
            # At the sizes that a CPU can train, plain attention is faster than the fused kernel.
            self.denoiser.set_attn_processor(AttnProcessor())
        pipeline.set_progress_bar_config(disable=True)

    def vocabulary(self) -> dict[str, int]:
        """Words that are one token, and their ids."""
        tokens = self.pipeline.tokenizer.get_vocab()
        return {token.removesuffix(WORD_END): index for token, index in tokens.items() if token.endswith(WORD_END)}

    def words_to_ids(self, text: str) -> list[int]:
        """Token ids of a text without the special ones."""
        return cast(list[int], self.pipeline.tokenizer(text, add_special_tokens=False).input_ids)

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids [B, L], padded to the text encoder's length."""
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        )
        return cast(Tensor, tokens.input_ids).to(self.device)

    def read_length(self, prompt: str) -> int:
        """How many characters of a prompt, from its beginning, the text encoder reads."""
        tokenizer = self.pipeline.tokenizer
        room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        spans = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return len(prompt) if len(spans) <= room else int(spans[room - 1][1])

    @torch.no_grad()
    def encode_images(self, x_BCHW: Tensor) -> LatentMoments:
        """Moments of the latents of pictures in -1..1, in the denoiser's scale."""
        latents = self.vae.encode(x_BCHW.to(self.device, memory_format=torch.channels_last)).latent_dist
        scale = self.vae.config.scaling_factor
        return LatentMoments(latents.mean * scale, latents.std * scale)

    def encode_tokens(self, ids_BL: Tensor) -> Conditioning:
        """Last hidden states of the text encoder, [B, L, D]."""
        return {"encoder_hidden_states": self.text_encoder(ids_BL).last_hidden_state}

    def timesteps(self, uniform_B: Tensor) -> Tensor:
        """Uniform over the noise schedule's steps."""
        return (uniform_B * int(self.noising.config.num_train_timesteps)).long()

    def add_noise(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """sqrt(a_t) z + sqrt(1 - a_t) noise (Ho et al., arXiv:2006.11239, equation 4)."""
        return cast(Tensor, self.noising.add_noise(z_BCHW, noise_BCHW, t_B))

    def target(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """The noise, or for v prediction the velocity sqrt(a_t) noise - sqrt(1 - a_t) z (Salimans and Ho,
        arXiv:2202.00512)."""
        if self.noising.config.prediction_type == "v_prediction":
            return cast(Tensor, self.noising.get_velocity(z_BCHW, noise_BCHW, t_B))
        return noise_BCHW

    def loss_weight(self, t_B: Tensor, min_snr_gamma: float) -> Tensor:
        """min(SNR, gamma) divided by SNR, or by SNR + 1 for v prediction (arXiv:2303.09556, section 3.4)."""
        snr = compute_snr(self.noising, t_B)
        velocity = self.noising.config.prediction_type == "v_prediction"
        return cast(Tensor, snr.clamp(max=min_snr_gamma) / (snr + 1 if velocity else snr))

    def predict(self, z_BCHW: Tensor, t_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's prediction, [B, C, H, W]."""
        z_BCHW = z_BCHW.contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.denoiser(z_BCHW, t_B, **conditioning, return_dict=False)[0])

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, size: Size, negative_prompt: str = ""
    ) -> GeneratedPictures:
        """One picture for each prompt.

        Each picture has its own random generator, on the CPU, so that its noise is the same on every device.

        Raises:
            NonFiniteLoss: a part computes NaN or infinite numbers; the message names the part.
        """
        width, height = (size, size) if isinstance(size, int) else size
        scheduler = SCHEDULERS[sampler.scheduler].from_config(self.noising.config)
        components = {
            **self.pipeline.components,
            "unet": _in_precision(self.denoiser, self.precision),
            "scheduler": scheduler,
        }
        pipeline = StableDiffusionPipeline(**components, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        with self.arithmetic():
            latents = pipeline(
                list(prompts),
                negative_prompt=[negative_prompt] * len(prompts),
                height=height,
                width=width,
                num_inference_steps=sampler.steps,
                guidance_scale=sampler.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="latent",
            ).images
        if not latents.isfinite().all():
            conditioning = self.encode_tokens(self.tokenize(prompts))["encoder_hidden_states"]
            self._refuse("UNet" if conditioning.isfinite().all() else "text encoder")
        return GeneratedPictures(self.decode(latents), latents.float())

    @torch.no_grad()
    def decode(self, latents_BCHW: Tensor) -> list[Any]:
        """Pictures of latents in the denoiser's scale."""
        latents = latents_BCHW.float() / self.vae.config.scaling_factor
        pictures = [
            self.vae.decode(part.contiguous(memory_format=torch.channels_last)).sample for part in latents.split(8)
        ]
        decoded = torch.cat(pictures)
        if not decoded.isfinite().all():
            self._refuse("autoencoder")
        return cast(list[Any], self.pipeline.image_processor.postprocess(decoded, output_type="pil"))

    def _refuse(self, part: str) -> NoReturn:
        half = self.precision == torch.float16
        remedy = "Set training.mixedPrecision to bf16 or fp32" if half else "Give another model, or another copy of it"
        raise NonFiniteLoss(f"the {part} computes numbers that are not finite. {remedy}.")

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes the standard layouts: `diffusers/` for `from_pretrained`, `model.safetensors` for `from_single_file`.

        A single file comes with `config/`, the configuration and tokenizer that `from_single_file(config=...)` reads.
        """
        if "diffusers" in formats:
            save_pipeline(self.pipeline, folder / "diffusers")
        if "single-file" in formats:
            save_file(single_file_tensors(self.pipeline), folder / "model.safetensors", metadata={"format": "pt"})
            save_configuration(self.pipeline, folder / "config")

    def export_adapters(self, folder: Path, denoiser: dict[str, Tensor], text_encoder: dict[str, Tensor]) -> None:
        """Writes adapters for `load_lora_weights`. The tensors have the names inside their modules."""
        text_layers = {
            text_name(name): tensor for name, tensor in _adapter_layers(self.text_encoder, text_encoder).items()
        }
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=_adapter_layers(self.denoiser, denoiser),
            text_encoder_lora_layers=text_layers or None,
        )

    def merge_adapters(self) -> None:
        """Adds the adapters to the weights and removes them."""
        for module in (self.denoiser, self.text_encoder):
            for layer in module.modules():
                if isinstance(layer, BaseTunerLayer):
                    layer.merge()
            recurse_remove_peft_layers(module)
            module._hf_peft_config_loaded = False

    def rescale_adapters(self, folder: Path, scale: float) -> None:
        """Changes the scale of adapters that were added to the weights."""
        self.pipeline.load_lora_weights(folder)
        self.pipeline.fuse_lora(lora_scale=scale - 1)
        self.pipeline.unload_lora_weights()

    def arithmetic(self) -> torch.autocast:
        """The context in which the denoiser computes in the model's precision."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def _in_precision(module: UNet2DConditionModel, precision: torch.dtype) -> UNet2DConditionModel:
    """The module, or a copy with weights in that number format: autocast would convert the weights in every pass."""
    if module.dtype == precision:
        return module
    converted = {id(weights): nn.Parameter(weights.to(precision), False) for weights in module.parameters()}
    return deepcopy(module, converted)


def _adapter_layers(module: ModelMixin | PreTrainedModel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adapter tensors under peft's names, which diffusers reads for every kind of layer (its own names cover attention
    only).

    The tensors include the scale alpha / rank, since not every program reads alpha from the files.
    """
    if not tensors:
        return {}
    settings = module.peft_config["default"]
    scale = settings.lora_alpha / settings.r
    scaled = {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in tensors.items()}
    return cast(dict[str, Tensor], get_peft_model_state_dict(module, scaled))
