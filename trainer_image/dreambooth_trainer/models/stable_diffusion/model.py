"""Stable Diffusion 1.x and 2.x, and other models of this architecture, such as the embedded model.

`xl.py` derives SDXL from it: a UNet that predicts latents of a KL autoencoder, conditioned on CLIP text encoders.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
)
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors.torch import save_file
from torch import Tensor

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_api.schedulers import Scheduler
from dreambooth_api.training import Sampler
from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.latent import LatentDiffusion, tokenizer_of
from dreambooth_trainer.models.objectives.ddpm import Ddpm
from dreambooth_trainer.models.stable_diffusion.kohya import kohya_tensors
from dreambooth_trainer.models.stable_diffusion.published import save_configuration, save_pipeline, text_name
from dreambooth_trainer.models.stable_diffusion.single_file import single_file_tensors

SCHEDULERS: dict[Scheduler, type[SchedulerMixin]] = {
    "ddpm": DDPMScheduler,
    "euler-ancestral": EulerAncestralDiscreteScheduler,
    "ddim": DDIMScheduler,
    "dpm-solver++": DPMSolverMultistepScheduler,
}


class StableDiffusion(LatentDiffusion):
    """A loaded Stable Diffusion model; implements `ModelFamily`.

    The text encoders compute in float32: they are small, and can be trained.
    """

    objective: Ddpm
    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusionPipeline
    without: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    word_suffix: ClassVar[str] = "</w>"

    def _set_up(self) -> None:
        for name, text_encoder in self.text_encoders.items():
            # If a tokenizer does not specify the length, transformers assumes a very large one.
            tokenizer = self.tokenizers[name]
            length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
            tokenizer.model_max_length = length
        self.objective = Ddpm(self.pipeline.scheduler.config, self.device)
        # The pipeline accepts no other sizes, even if its autoencoder does.
        self.size_multiple = math.lcm(8, self.pipeline.vae_scale_factor)
        self.resolution = int(self.denoiser.config.sample_size) * self.pipeline.vae_scale_factor
        self.denoiser.to(memory_format=torch.channels_last)
        self.autoencoder.module.to(memory_format=torch.channels_last)
        self.choose_kernels(self.device.type)

    def choose_kernels(self, device_type: str) -> None:
        """Plain attention on a CPU: at the sizes that it can train, it is faster than the fused kernel."""
        if device_type == "cpu":
            self.denoiser.set_attn_processor(AttnProcessor())

    @classmethod
    def check_pipeline(cls, pipeline: DiffusionPipeline) -> None:
        """Checks that the parts fit each other and are those of a base model."""
        unet, vae = pipeline.unet.config, pipeline.vae.config
        text_encoders = [getattr(pipeline, name).config for name in cls.text_parts]
        if unet.in_channels != vae.latent_channels:
            raise ValueError(
                f"its UNet has {unet.in_channels} input channels and its latents {vae.latent_channels}, as in models "
                "that also take a picture (inpainting)"
            )
        if unet.time_cond_proj_dim is not None:
            raise ValueError(
                "its UNet takes the guidance scale as an input, as in models that are distilled to few steps (LCM). Give "
                "the model that it was distilled from"
            )
        if vae.latents_mean is not None:
            raise ValueError("its autoencoder normalises latents by their mean, which is not supported")
        width = sum(text_encoder.hidden_size for text_encoder in text_encoders)
        # A list of widths is from no model of these families; the libraries raise an error for it.
        if isinstance(unet.cross_attention_dim, int) and unet.cross_attention_dim != width:
            encoders = "text encoder gives" if len(text_encoders) == 1 else "text encoders give"
            raise ValueError(
                f"its UNet takes embeddings of {unet.cross_attention_dim} numbers, and its {encoders} {width}"
            )
        for name, text_encoder in zip(cls.text_parts, text_encoders, strict=True):
            tokens = len(getattr(pipeline, tokenizer_of(name)))
            if tokens > text_encoder.vocab_size:
                raise ValueError(
                    f"its {tokenizer_of(name)} has {tokens} tokens, and its {name} knows {text_encoder.vocab_size}"
                )

    def refuse_what_is_not_finite(self, source: str) -> None:
        """Also refuses a noise schedule that gives such numbers."""
        super().refuse_what_is_not_finite(source)
        if self.objective.predicts == "epsilon" and self.objective.ends_without_signal:
            raise NonFiniteLoss(
                f"model.source: {source!r} has a scheduler whose noise schedule ends without any signal "
                "(rescale_betas_zero_snr). A UNet that predicts noise (epsilon) can't generate pictures with it. Give a "
                "model with v_prediction, or correct scheduler/scheduler_config.json."
            )

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Last hidden states of the text encoder, `embeddings` [B, L, D]."""
        return {"embeddings": self.text_encoders["text_encoder"](tokens["text_encoder"]).last_hidden_state}

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The UNet's prediction, [B, C, H, W]."""
        dtype = next(self.denoiser.parameters()).dtype
        return cast(
            Tensor,
            self.denoiser(
                z_BCHW.to(dtype).contiguous(memory_format=torch.channels_last),
                t_B,
                prompts["embeddings"].to(dtype),
                added_cond_kwargs=self._added_conditioning(prompts, images),
                return_dict=False,
            )[0],
        )

    def _added_conditioning(self, prompts: Tensors, images: Tensors) -> Tensors | None:
        """What the UNet adds to its embedding of the timestep."""
        return None

    def _scheduler(self, sampler: Sampler, generators: Sequence[torch.Generator]) -> SchedulerMixin:
        return SCHEDULERS[sampler.scheduler].from_config(self.objective.scheduler.config)

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes the standard layouts: `diffusers/` for `from_pretrained`, `model.safetensors` for `from_single_file`.

        A single file comes with `config/`, the configuration and tokenizer that `from_single_file(config=...)` reads.
        """
        if "diffusers" in formats:
            save_pipeline(self.pipeline, folder / "diffusers")
        if {"single-file", "comfyui"} & set(formats):
            save_file(single_file_tensors(self.pipeline), folder / "model.safetensors", metadata={"format": "pt"})
            save_configuration(self.pipeline, folder / "config")

    def export_adapters(
        self, folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], formats: Sequence[str]
    ) -> None:
        """Writes adapters for `load_lora_weights`, and `comfyui.safetensors` for ComfyUI."""
        super().export_adapters(folder, tensors, formats)
        if "comfyui" in formats:
            save_file(kohya_tensors(self._adapters(tensors)), folder / "comfyui.safetensors", metadata={"format": "pt"})

    def _adapters(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        return {
            part: {text_name(name) if part in self.text_encoders else name: tensor for name, tensor in layers.items()}
            for part, layers in super()._adapters(tensors).items()
        }
