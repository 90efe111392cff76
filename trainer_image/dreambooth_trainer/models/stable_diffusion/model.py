"""Stable Diffusion 1.x and 2.x, and other models of this architecture, such as the embedded model.

`xl.py` derives SDXL from it: a UNet that predicts latents of a KL autoencoder, conditioned on CLIP text encoders.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
)
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.peft_utils import recurse_remove_peft_layers
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_api.training import Sampler, Scheduler
from dreambooth_trainer.models.base import Framing, GeneratedPictures, LatentMoments, Size, Tensors
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

WORD_END = "</w>"
"""End-of-word mark of CLIP's byte-pair encoding."""


def tokenizer_of(text_encoder: str) -> str:
    """Name of the tokenizer of a text encoder: `tokenizer` for `text_encoder`."""
    return text_encoder.replace("text_encoder", "tokenizer")


class StableDiffusion:
    """A loaded Stable Diffusion model; implements `ModelFamily`.

    `precision` is the number format of the denoiser's arithmetic. Text encoder and autoencoder compute in float32: they
    are small, and SDXL's autoencoder overflows in float16.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusionPipeline
    text_parts: ClassVar[Sequence[str]] = ("text_encoder",)
    """Names of the text encoders in the pipeline."""
    without: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    """Parts that neither training nor generation needs, as arguments of the pipeline."""
    pipeline_arguments: ClassVar[Mapping[str, str]] = {"embeddings": "prompt_embeds"}
    """The pipeline's names for what `encode_prompts` returns."""

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        *,
        device: torch.device,
        precision: torch.dtype,
        digest: str,
        commit: str | None,
    ) -> None:
        """Moves the parts of a pipeline to a device and freezes them.

        Raises:
            ValueError: the scheduler has an unknown prediction type.
        """
        self.pipeline = pipeline
        self.device = device
        self.precision = precision
        self.digest = digest
        self.commit = commit
        self.denoiser: UNet2DConditionModel = pipeline.unet
        self.text_encoders: dict[str, PreTrainedModel] = {name: getattr(pipeline, name) for name in self.text_parts}
        self.tokenizers = {name: getattr(pipeline, tokenizer_of(name)) for name in self.text_parts}
        self.vae: AutoencoderKL = pipeline.vae
        for name, text_encoder in self.text_encoders.items():
            # If a tokenizer does not specify the length, transformers assumes a very large one.
            tokenizer = self.tokenizers[name]
            length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
            tokenizer.model_max_length = length
        self.objective = Ddpm(pipeline.scheduler.config, device)
        # The pipeline accepts no other sizes, even if its autoencoder does.
        self.size_multiple = math.lcm(8, pipeline.vae_scale_factor)
        self.resolution = int(self.denoiser.config.sample_size) * pipeline.vae_scale_factor
        for module in (self.denoiser, self.vae, *self.text_encoders.values()):
            module.requires_grad_(False).eval().to(device)
        self.denoiser.to(memory_format=torch.channels_last)
        self.vae.to(memory_format=torch.channels_last)
        if device.type == "cpu":
            # At the sizes that a CPU can train, plain attention is faster than the fused kernel.
            self.denoiser.set_attn_processor(AttnProcessor())
        pipeline.set_progress_bar_config(disable=True)

    def vocabulary(self) -> dict[str, int]:
        """Words that are one token, and their ids."""
        tokens = self._first_tokenizer.get_vocab()
        return {token.removesuffix(WORD_END): index for token, index in tokens.items() if token.endswith(WORD_END)}

    def words_to_ids(self, text: str) -> list[int]:
        """Token ids of a text without the special ones."""
        return cast(list[int], self._first_tokenizer(text, add_special_tokens=False).input_ids)

    def tokenize(self, prompts: Sequence[str]) -> Tensors:
        """Token ids [B, L] for each text encoder, padded to its length."""
        return {
            name: tokenizer(
                list(prompts),
                padding="max_length",
                truncation=True,
                max_length=tokenizer.model_max_length,
                return_tensors="pt",
            ).input_ids.to(self.device)
            for name, tokenizer in self.tokenizers.items()
        }

    def read_length(self, prompt: str) -> int:
        """How many characters of a prompt, from its beginning, the text encoder reads."""
        tokenizer = self._first_tokenizer
        room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        spans = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return len(prompt) if len(spans) <= room else int(spans[room - 1][1])

    @torch.no_grad()
    def encode_images(self, x_BCHW: Tensor) -> LatentMoments:
        """Moments of the latents of pictures in -1..1, in the denoiser's scale."""
        latents = self.vae.encode(x_BCHW.to(self.device, memory_format=torch.channels_last)).latent_dist
        scale = self.vae.config.scaling_factor
        return LatentMoments(latents.mean * scale, latents.std * scale)

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Last hidden states of the text encoder, `embeddings` [B, L, D]."""
        return {"embeddings": self.text_encoders["text_encoder"](tokens["text_encoder"]).last_hidden_state}

    def encode_framings(self, framings: Sequence[Framing], side: int) -> Tensors:
        """Nothing: these models know no framing."""
        return {}

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

    @property
    def _first_tokenizer(self) -> Any:
        """The tokenizer whose vocabulary identifiers come from."""
        return self.tokenizers[self.text_parts[0]]

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
        scheduler = SCHEDULERS[sampler.scheduler].from_config(self.objective.scheduler.config)
        components = {
            **self.pipeline.components,
            "unet": _in_precision(self.denoiser, self.precision),
            "scheduler": scheduler,
        }
        options = {name: value for name, value in self.without.items() if value is not None}
        pipeline = self.pipeline_class(**components, **options)
        pipeline.set_progress_bar_config(disable=True)
        conditioning = self._pipeline_conditioning(prompts, negative_prompt, sampler.guidance_scale > 1)
        with self.arithmetic():
            latents = pipeline(
                **conditioning,
                height=height,
                width=width,
                num_inference_steps=sampler.steps,
                guidance_scale=sampler.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="latent",
            ).images
        if not latents.isfinite().all():
            finite = all(value.isfinite().all() for value in conditioning.values())
            self._refuse("UNet" if finite else "text encoder")
        return GeneratedPictures(self.decode(latents), latents.float())

    def _pipeline_conditioning(self, prompts: Sequence[str], negative_prompt: str, guided: bool) -> Tensors:
        """Arguments of the pipeline instead of prompts.

        Each prompt is encoded by itself, and once, so that a picture does not depend on the other prompts.
        """
        texts = dict.fromkeys([*prompts, *([negative_prompt] if guided else [])])
        encoded = {text: self.encode_prompts(self.tokenize([text])) for text in texts}

        def of(texts: Sequence[str], names: Mapping[str, str]) -> Tensors:
            return {name: torch.cat([encoded[text][ours] for text in texts]) for ours, name in names.items()}

        names = self.pipeline_arguments
        negative = {ours: f"negative_{name}" for ours, name in names.items()}
        return {**of(prompts, names), **(of([negative_prompt] * len(prompts), negative) if guided else {})}

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

    def keep_trained_parts(self, *, text_encoders: bool) -> None:
        """Frees the autoencoder and, unless they are trained, the text encoders."""
        for module in (self.vae, *(() if text_encoders else self.text_encoders.values())):
            module.to("meta")

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
        parts = {"unet": _adapter_layers(self.denoiser, tensors["denoiser"])}
        for name, module in self.text_encoders.items():
            layers = _adapter_layers(module, tensors[name])
            parts[name] = {text_name(layer): value for layer, value in layers.items()}
        self.pipeline_class.save_lora_weights(
            folder, **{f"{name}_lora_layers": layers or None for name, layers in parts.items()}
        )
        if "comfyui" in formats:
            save_file(kohya_tensors(parts), folder / "comfyui.safetensors", metadata={"format": "pt"})

    def merge_adapters(self) -> None:
        """Adds the adapters to the weights and removes them."""
        for module in (self.denoiser, *self.text_encoders.values()):
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


def _adapter_layers(module: ModelMixin | PreTrainedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
