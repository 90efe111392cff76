"""Latent diffusion: what all families have in common whose denoiser predicts latents of an autoencoder, conditioned on text
encoders, and which diffusers loads as a pipeline."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_api.model_families import FAMILIES, Family
from dreambooth_api.prompts import read_length
from dreambooth_api.training import Quantization, Sampler
from dreambooth_trainer.models.adapters import adapter_layers, merge_adapters
from dreambooth_trainer.models.autoencoder import Autoencoder
from dreambooth_trainer.models.base import (
    Framing,
    GeneratedPictures,
    LatentMoments,
    Objective,
    Tensors,
)
from dreambooth_trainer.models.batches import with_what_fits
from dreambooth_trainer.models.placement import on_device
from dreambooth_trainer.models.quantization import LAYERS, Int8Linear, quantize


def tokenizer_of(text_encoder: str) -> str:
    """Name of the tokenizer of a text encoder: `tokenizer` for `text_encoder`."""
    return text_encoder.replace("text_encoder", "tokenizer")


class LatentDiffusion:
    """A loaded model; the common part of the families that implement `ModelFamily`.

    The autoencoder, which is small, is on the device. Denoiser and text encoders are in the host's memory until training
    steps need them; `encoding` and `denoising` compute with copies.

    `precision` is the number format of the denoiser's arithmetic. The autoencoder computes in float32: it is small, and
    SDXL's overflows in float16.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    autoencoder_class: ClassVar[type[Autoencoder]] = Autoencoder
    text_parts: ClassVar[Sequence[str]] = ("text_encoder",)
    """Names of the text encoders in the pipeline."""
    rounded_parts: ClassVar[Sequence[str]] = ()
    """Frozen parts whose weights have the number format of the arithmetic."""
    without: ClassVar[Mapping[str, Any]] = {}
    """Parts that neither training nor generation needs, as arguments of the pipeline."""
    pipeline_arguments: ClassVar[Mapping[str, str]] = {"embeddings": "prompt_embeds"}
    """The pipeline's names for what `encode_prompts` returns."""
    guidance_offset: ClassVar[float] = 0.0
    """By how much the pipeline's guidance scale is lower. With 1, it adds g (pos - neg) to the prediction for the prompt, pos;
    others add it to the negative one, neg."""
    word_prefix: ClassVar[str] = ""
    """The tokenizer's mark at the beginning of a word."""
    word_suffix: ClassVar[str] = ""
    """The tokenizer's mark at the end of a word."""

    fixed_shapes: ClassVar[bool] = True
    """See `ModelFamily`."""
    unread_layers: ClassVar[Sequence[str]] = ()
    """Layers of the transformer's last block that only compute its text, which nothing reads after it."""

    objective: Objective
    resolution: int
    size_multiple: int

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        *,
        device: torch.device,
        precision: torch.dtype,
        digest: str,
        commit: str | None,
        origin: Path | None = None,
    ) -> None:
        """Freezes the parts of a pipeline and moves the autoencoder to a device.

        Args:
            pipeline: the loaded pipeline, in the host's memory.
            device: device that computes.
            precision: number format of the arithmetic.
            digest: see `Identity`.
            commit: see `Identity`.
            origin: folder or file from which the pipeline was loaded.

        Raises:
            ValueError: the pipeline's parts are not those of a base model of this family.
        """
        self.pipeline = pipeline
        self.device = device
        self.precision = precision
        self.digest = digest
        self.commit = commit
        self.origin = origin
        self._conditioning: dict[str, Tensors] = {}
        """Conditioning on the prompts of pictures that are generated now."""
        self._at_once: dict[int | tuple[int, int], int] = {}
        """Pictures of a size that the memory has room for, if fewer than wanted once were too many."""
        self.denoiser: ModelMixin = getattr(pipeline, self.family().denoiser)
        self.text_encoders: dict[str, PreTrainedModel] = {name: getattr(pipeline, name) for name in self.text_parts}
        self.tokenizers = {name: getattr(pipeline, tokenizer_of(name)) for name in self.text_parts}
        self.autoencoder = self.autoencoder_class(pipeline.vae)
        for module in self.parts.values():
            module.requires_grad_(False).eval()
        self.autoencoder.module.to(device)
        pipeline.set_progress_bar_config(disable=True)
        self._set_up()

    def _set_up(self) -> None:
        """Sets `objective`, `resolution` and `size_multiple`, and what else a family needs.

        Raises:
            ValueError: the pipeline's parts are not those of a base model of this family.
        """
        raise NotImplementedError

    def choose_kernels(self, device_type: str) -> None:
        """Chooses what computes fastest on a type of device: `cpu`, `cuda`. Most models leave it to PyTorch."""

    @classmethod
    def family(cls) -> Family:
        """What can be done with the models of this family."""
        return FAMILIES[cls.pipeline_class.__name__]

    @classmethod
    def weight_formats(cls, weights: torch.dtype, precision: torch.dtype) -> dict[str, torch.dtype]:
        """Number formats in which the parts of the pipeline are loaded.

        Args:
            weights: number format of the denoiser's weights.
            precision: number format of the arithmetic.
        """
        rounded = dict.fromkeys(cls.rounded_parts, precision)
        return {cls.family().denoiser: weights, **rounded, "default": torch.float32}

    @classmethod
    def check_pipeline(cls, pipeline: DiffusionPipeline) -> None:
        """Checks that the parts fit each other and are those of a base model.

        Raises:
            ValueError: they are not.
        """

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules by their names in the pipeline."""
        return {self.family().denoiser: self.denoiser, **self.text_encoders, "vae": self.autoencoder.module}

    @property
    def unread_weights(self) -> tuple[str, ...]:
        """Beginnings of the names of weights of the denoiser on which its prediction doesn't depend."""
        return tuple(
            f"transformer_blocks.{len(self.denoiser.transformer_blocks) - 1}.{layer}." for layer in self.unread_layers
        )

    def refuse_what_is_not_finite(self, source: str) -> None:
        """Refuses weights that are NaN or infinite: the pictures would be black.

        Raises:
            NonFiniteLoss: there are such weights.
        """
        for part, module in self.parts.items():
            for name, weights in module.named_parameters():
                # The sum is only infinite or NaN with such a number, or with extremely large ones.
                if not weights.to(self.device).sum().isfinite() and not weights.isfinite().all():
                    raise NonFiniteLoss(
                        f"model.source: {source!r} has weights that are not finite in its {part} ({name}). Give another "
                        "model, or another copy of it."
                    )

    def quantize(self, quantization: Quantization) -> None:
        """Quantizes frozen weights, layer by layer: those of the denoiser, and those of large text encoders, which always
        take 8 bits. With 4, prompts would have another conditioning than in the exported model."""
        if quantization == "none":
            return
        quantize(self.denoiser, LAYERS[quantization], self.precision, self.device)
        for name in self.rounded_parts:
            quantize(self.text_encoders[name], Int8Linear, self.precision, self.device)

    def vocabulary(self) -> dict[str, int]:
        """Words that are one token, and their ids."""
        before, after = self.word_prefix, self.word_suffix
        return {
            token[len(before) : len(token) - len(after)]: index
            for token, index in self._first_tokenizer.get_vocab().items()
            if token.startswith(before) and token.endswith(after)
        }

    def words_to_ids(self, text: str) -> list[int]:
        """Token ids of a text without the special ones."""
        return cast(list[int], self._first_tokenizer(text, add_special_tokens=False).input_ids)

    def read_length(self, prompt: str) -> int:
        """How many characters of a prompt, from its beginning, the text encoder reads."""
        spans = self._first_tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
        return read_length(prompt, spans, self._prompt_tokens())

    def _prompt_tokens(self) -> int:
        """How many tokens of a prompt the text encoder reads."""
        tokenizer = self._first_tokenizer
        return int(tokenizer.model_max_length - tokenizer.num_special_tokens_to_add())

    @property
    def _first_tokenizer(self) -> Any:
        """The tokenizer whose vocabulary identifiers come from."""
        return self.tokenizers[self.text_parts[0]]

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

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """While it is entered, the text encoders are on the device."""
        own = self.text_encoders
        self.text_encoders = {name: on_device(module, self.device) for name, module in own.items()}
        try:
            yield
        finally:
            self.text_encoders = own

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Conditioning on tokenised prompts; differentiable in the weights of the text encoders."""
        raise NotImplementedError

    @contextmanager
    def denoising(self, prompts: Collection[str] = (), negative_prompt: str = "") -> Iterator[None]:
        """While it is entered, the denoiser is on the device, in the number format of the arithmetic.

        The prompts are encoded before. The text encoders have left the device then.

        Args:
            prompts: prompts of the pictures that will be generated.
            negative_prompt: their negative prompt.
        """
        own, known = self.denoiser, self._conditioning
        texts = dict.fromkeys([*prompts, negative_prompt]) if prompts else {}
        self._conditioning = known | self._encoded([text for text in texts if text not in known])
        self.denoiser = on_device(own, self.device, self.precision)
        try:
            yield
        finally:
            self.denoiser, self._conditioning = own, known

    @torch.no_grad()
    def _encoded(self, prompts: Sequence[str]) -> dict[str, Tensors]:
        """Conditioning on prompts. Each is encoded by itself, so that a picture does not depend on the other prompts."""
        if not prompts:
            return {}
        with self.encoding():
            return {prompt: self.encode_prompts(self.tokenize([prompt])) for prompt in prompts}

    def encode_framings(self, framings: Sequence[Framing], size: tuple[int, int]) -> Tensors:
        """Nothing: most models know no framing."""
        return {}

    def encode_images(self, x_BCHW: Tensor) -> LatentMoments:
        """Moments of the latents of pictures in -1..1, in the denoiser's scale."""
        return self.autoencoder.encode(x_BCHW.to(self.device))

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The denoiser's prediction, [B, C, H, W]."""
        raise NotImplementedError

    def _scheduler(self, sampler: Sampler, generators: Sequence[torch.Generator]) -> SchedulerMixin:
        """The scheduler that generates pictures.

        Args:
            sampler: sampler settings.
            generators: random generators of the rows.
        """
        raise NotImplementedError

    def _guidance(self, scale: float) -> dict[str, float]:
        """Arguments of the pipeline for classifier-free guidance; a scale of 1 is none."""
        return {"guidance_scale": scale - self.guidance_offset}

    def _from_pipeline(self, latents: Tensor, height: int, width: int) -> Tensor:
        """Latents that the pipeline returns, in the denoiser's scale, [B, C, H, W].

        Args:
            latents: what the pipeline returns.
            height: height of the pictures in pixels.
            width: width of the pictures in pixels.
        """
        return latents

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampler: Sampler,
        size: int | tuple[int, int],
        negative_prompt: str = "",
    ) -> GeneratedPictures:
        """One picture for each prompt.

        If the memory is too small for all at once, they are generated in smaller batches, here and in further calls.

        Raises:
            NonFiniteLoss: a part computes NaN or infinite numbers; the message names the part.
        """
        count = len(prompts)
        wanted = min(count, self._at_once.get(size, count))

        def pictures(at_once: int) -> list[GeneratedPictures]:
            parts = [slice(start, start + at_once) for start in range(0, count, at_once)]
            return [self._generate(prompts[part], seeds[part], sampler, size, negative_prompt) for part in parts]

        with self.denoising(prompts, negative_prompt):
            generated, at_once = with_what_fits(pictures, wanted)
        if at_once < wanted:
            self._at_once[size] = at_once
        images = [image for part in generated for image in part.images]
        return GeneratedPictures(images, torch.cat([part.latents_BCHW for part in generated]))

    @torch.no_grad()
    def _generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampler: Sampler,
        size: int | tuple[int, int],
        negative_prompt: str,
    ) -> GeneratedPictures:
        """One picture for each prompt, all at once.

        Each picture has its own random generator, on the CPU, so that its noise is the same on every device.
        """
        width, height = (size, size) if isinstance(size, int) else size
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        components = {
            **self.pipeline.components,
            self.family().denoiser: self.denoiser,
            "scheduler": self._scheduler(sampler, generators),
        }
        options = {name: value for name, value in self.without.items() if value is not None}
        pipeline = self.pipeline_class(**components, **options)
        pipeline.set_progress_bar_config(disable=True)
        conditioning = self._pipeline_conditioning(prompts, negative_prompt, sampler.guidance_scale > 1)
        with self.arithmetic():
            latents = pipeline(
                **conditioning,
                **self._guidance(sampler.guidance_scale),
                height=height,
                width=width,
                num_inference_steps=sampler.steps,
                generator=generators,
                output_type="latent",
            ).images
        if not latents.isfinite().all():
            finite = all(row.isfinite().all() for value in conditioning.values() for row in value)
            self._refuse("denoiser" if finite else "text encoder")
        z_BCHW = self._from_pipeline(latents.float(), height, width)
        return GeneratedPictures(self.decode(z_BCHW), z_BCHW)

    def _pipeline_conditioning(self, prompts: Sequence[str], negative_prompt: str, guided: bool) -> dict[str, Any]:
        """Arguments of the pipeline instead of prompts, each with one row for each prompt."""

        def of(texts: Sequence[str], names: Mapping[str, str]) -> Tensors:
            return {name: torch.cat([self._conditioning[text][ours] for text in texts]) for ours, name in names.items()}

        names = self.pipeline_arguments
        negative = {ours: f"negative_{name}" for ours, name in names.items()}
        return {**of(prompts, names), **(of([negative_prompt] * len(prompts), negative) if guided else {})}

    def decode(self, z_BCHW: Tensor) -> list[Any]:
        """Pictures of latents in the denoiser's scale."""
        decoded = self.autoencoder.decode(z_BCHW)
        if not decoded.isfinite().all():
            self._refuse("autoencoder")
        return cast(list[Any], self.pipeline.image_processor.postprocess(decoded, output_type="pil"))

    def _refuse(self, part: str) -> NoReturn:
        half = self.precision == torch.float16
        remedy = "Set training.mixedPrecision to bf16 or fp32" if half else "Give another model, or another copy of it"
        raise NonFiniteLoss(f"the {part} computes numbers that are not finite. {remedy}.")

    def arithmetic(self) -> torch.autocast:
        """The context in which the denoiser computes in the model's precision."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def keep_trained_parts(self, *, text_encoders: bool, pictures_of: Sequence[str] = ()) -> None:
        """Moves denoiser and, if they are trained, text encoders to the device; frees what nothing needs any more.

        Args:
            text_encoders: whether the text encoders are trained.
            pictures_of: prompts of which pictures are generated between steps. Frozen text encoders encode them now.
        """
        if not text_encoders:
            self._conditioning = self._encoded([*pictures_of, ""]) if pictures_of else {}
        trained = [self.denoiser, *(self.text_encoders.values() if text_encoders else ())]
        for module in self.parts.values():
            if module in trained:
                module.to(self.device)
            elif not pictures_of:
                module.to("meta")

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes the model in its present state."""
        raise NotImplementedError

    def export_adapters(
        self, folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], formats: Sequence[str]
    ) -> None:
        """Writes adapters for `load_lora_weights`."""
        self.pipeline_class.save_lora_weights(
            folder, **{f"{name}_lora_layers": layers or None for name, layers in self._adapters(tensors).items()}
        )

    def _adapters(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Adapters of the denoiser, and of the text encoders if they can be trained, by the pipeline's names of parts."""
        family = self.family()
        text_encoders = self.text_encoders if family.trains_text_encoders else {}
        return {
            family.denoiser: adapter_layers(self.denoiser, tensors["denoiser"]),
            **{name: adapter_layers(module, tensors[name]) for name, module in text_encoders.items()},
        }

    def merge_adapters(self) -> None:
        """Adds the adapters to the weights on the device and removes them."""
        for module in (self.denoiser, *self.text_encoders.values()):
            merge_adapters(module, self.device)

    def add_adapters(self, folder: Path) -> None:
        """Adds adapters next to the weights."""
        self.pipeline.load_lora_weights(folder)

    def fuse_adapters(self, file: Path, scale: float) -> None:
        """Adds a multiple of adapters to the weights, on the device."""
        self.denoiser.to(self.device)
        if self.family().trains_text_encoders:
            for module in self.text_encoders.values():
                module.to(self.device)
        self.pipeline.load_lora_weights(file.parent, weight_name=file.name, use_safetensors=True)
        # Names that don't fit are left out without a word.
        if not any(self.pipeline.get_list_adapters().values()):
            raise ValueError("none of its weights are those of a layer of the model")
        self.pipeline.fuse_lora(lora_scale=scale)
        self.pipeline.unload_lora_weights()
