"""The protocol of a model family: all that the phases use of Stable Diffusion, or of a future family."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from diffusers.models.modeling_utils import ModelMixin
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel

from dreambooth_api.training import Quantization, Sampler

Tensors = dict[str, Tensor]
"""Named tensors whose first dimension is the row: a prompt, or an image. Families choose names and types: token ids,
embeddings, masks, sizes."""


@dataclass(frozen=True)
class Framing:
    """Which part of its original a training image shows, in pixels."""

    height: int
    """Height of the original."""
    width: int
    """Width of the original."""
    top: int = 0
    """Rows cut off above, after scaling to the training size."""
    left: int = 0
    """Columns cut off on the left, after scaling to the training size."""


@dataclass(frozen=True)
class LatentMoments:
    """Mean and standard deviation of the autoencoder's Gaussian, both [B, C, H, W], in the denoiser's scale."""

    mean_BCHW: Tensor
    std_BCHW: Tensor


@dataclass(frozen=True)
class GeneratedPictures:
    """Pictures and their latents at the end of sampling."""

    images: list[Image.Image]
    latents_BCHW: Tensor


class Objective(Protocol):
    """The process by which a family adds noise, and what its denoiser predicts."""

    def timesteps(self, uniform_B: Tensor) -> Tensor:
        """Timesteps [B] for random numbers, uniform in [0, 1)."""
        ...

    def add_noise(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Noisy latents of the forward process."""
        ...

    def target(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """The target of the denoiser's prediction."""
        ...

    def loss_weight(self, t_B: Tensor, min_snr_gamma: float) -> Tensor:
        """Weight of each timestep's loss under min-SNR weighting."""
        ...


def exact_weights(module: nn.Module, precision: torch.dtype) -> set[str]:
    """Names of the weights that are float32 where the others have another number format: libraries load them so."""
    kept = set(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
    # transformers applies the other list to float16 alone, diffusers to all formats.
    if precision == torch.float16 or isinstance(module, ModelMixin):
        kept |= set(getattr(module, "_keep_in_fp32_modules", None) or ())
    return {name for name, _ in module.named_parameters() if kept.intersection(name.split("."))}


class ModelFamily(Protocol):
    """A loaded base model. Its modules are frozen until `train` makes a module trainable."""

    digest: str
    """See `Identity`."""
    commit: str | None
    """See `Identity`."""
    resolution: int
    """Native side of the pictures in pixels."""
    size_multiple: int
    """Width and height of every picture are multiples of it."""
    device: torch.device
    denoiser: ModelMixin

    @property
    def fixed_shapes(self) -> bool:
        """Whether a training step computes with the same shapes whatever its prompts are, as a CUDA graph must."""
        ...

    @property
    def unread_weights(self) -> tuple[str, ...]:
        """Beginnings of the names of weights of the denoiser on which its prediction doesn't depend. They aren't
        trained."""
        ...

    @property
    def objective(self) -> Objective:
        """The process that the denoiser was trained for."""
        ...

    @property
    def text_encoders(self) -> Mapping[str, PreTrainedModel]:
        """Text encoders by the names of their parts. Trained weights are named after them: `text_encoder.layer.weight`."""
        ...

    def vocabulary(self) -> dict[str, int]:
        """Words that are one token, and their ids: tokens at the end of a word, without the end-of-word mark."""
        ...

    def tokenize(self, prompts: Sequence[str]) -> Tensors:
        """Token ids [B, L] for each text encoder, by its name."""
        ...

    def words_to_ids(self, text: str) -> list[int]:
        """Token ids of a text without the special ones."""
        ...

    def read_length(self, prompt: str) -> int:
        """How many characters of a prompt, from its beginning, the text encoder reads; `tokenize` truncates the
        rest."""
        ...

    def encode_images(self, x_BCHW: Tensor) -> LatentMoments:
        """Moments of the latents of pictures in -1..1."""
        ...

    def encoding(self) -> AbstractContextManager[None]:
        """The context in which the text encoders are on the device."""
        ...

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Conditioning on tokenised prompts; differentiable in the weights of the text encoders. Outside of the training
        it needs `encoding`."""
        ...

    def denoising(self, prompts: Collection[str] = (), negative_prompt: str = "") -> AbstractContextManager[None]:
        """The context in which the denoiser is on the device, and no text encoder. The prompts are encoded before.

        Args:
            prompts: prompts of the pictures that will be generated.
            negative_prompt: their negative prompt.
        """
        ...

    def encode_framings(self, framings: Sequence[Framing], size: tuple[int, int]) -> Tensors:
        """Conditioning on the framing of images of one size; empty for families without it.

        Args:
            framings: one for each image.
            size: width and height of the images in pixels.
        """
        ...

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context in which the denoiser computes in the model's precision."""
        ...

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The denoiser's prediction, in the target's terms. Outside of the training it needs `denoising`.

        Args:
            z_BCHW: noisy latents.
            t_B: timesteps.
            prompts: rows of `encode_prompts`.
            images: rows of `encode_framings`.
        """
        ...

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampler: Sampler,
        size: int | tuple[int, int],
        negative_prompt: str = "",
    ) -> GeneratedPictures:
        """One picture for each prompt; picture i depends on prompt i and seed i alone.

        For several calls, `denoising` brings the model's parts to the device once.

        Args:
            prompts: the prompts.
            seeds: one for each prompt.
            sampler: sampler settings.
            size: pixels, in multiples of `size_multiple`: of each side of a square, or width and height.
            negative_prompt: what guidance moves the pictures away from. Has no effect at a guidance scale of 1.
        """
        ...

    def quantize(self, quantization: Quantization) -> None:
        """Quantizes frozen weights; see `training.quantization`. The model can't be exported then."""
        ...

    def keep_trained_parts(self, *, text_encoders: bool, pictures_of: Sequence[str] = ()) -> None:
        """Moves what training steps use to the device, and frees what nothing needs any more.

        Without prompts of pictures, the model can't encode or generate any more.

        Args:
            text_encoders: whether the text encoders are trained.
            pictures_of: prompts of the pictures that are generated between steps.
        """
        ...

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes the model in its present state (standard layouts: `diffusers/`, `model.safetensors`)."""
        ...

    def export_adapters(
        self, folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], formats: Sequence[str]
    ) -> None:
        """Writes adapters in the layout that diffusers' pipelines load, and in further ones.

        Args:
            folder: where to write them.
            tensors: for each part (`denoiser`, names of text encoders), its tensors by their names inside the part.
            formats: see `output.formats`.
        """
        ...

    def merge_adapters(self) -> None:
        """Adds the adapters to the weights and removes them."""
        ...

    def add_adapters(self, folder: Path) -> None:
        """Adds adapters next to the weights.

        Args:
            folder: the adapters that `export_adapters` wrote.
        """
        ...

    def fuse_adapters(self, file: Path, scale: float) -> None:
        """Adds a multiple of adapters to the weights.

        Args:
            file: adapters that `export_adapters` or another program wrote, in the format of safetensors.
            scale: 1 adds them once; -1 removes them.

        Raises:
            ValueError: they don't fit the model.
        """
        ...
