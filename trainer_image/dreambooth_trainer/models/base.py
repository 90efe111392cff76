"""The protocol of a model family: all that the phases use of Stable Diffusion, or of a future family."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from diffusers.models.modeling_utils import ModelMixin
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from dreambooth_api.training import Sampler

Conditioning = dict[str, Tensor]
"""Further input of a denoiser: named tensors whose first dimension is the prompt, so that a family can add pooled
embeddings, masks or sizes."""


Size = int | tuple[int, int]
"""Pixels of a picture: of each side of a square, or width and height."""


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


@dataclass(frozen=True)
class Identity:
    """Identifies a base model by its content, whatever its path."""

    digest: str
    """SHA-256 over the weights, configurations and tokenizer that are loaded."""
    commit: str | None
    """Commit of the hub repository; None if the model comes from elsewhere."""


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
    denoiser: ModelMixin
    text_encoder: PreTrainedModel
    device: torch.device

    def vocabulary(self) -> dict[str, int]:
        """Words that are one token, and their ids: tokens at the end of a word, without the end-of-word mark."""
        ...

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids [B, L], padded."""
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

    def encode_tokens(self, ids_BL: Tensor) -> Conditioning:
        """Conditioning of tokenised prompts; differentiable in the text encoder's weights."""
        ...

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

    def arithmetic(self) -> AbstractContextManager[object]:
        """The context in which the denoiser computes in the model's precision."""
        ...

    def predict(self, z_BCHW: Tensor, t_B: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's prediction, in the target's terms."""
        ...

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, size: Size, negative_prompt: str = ""
    ) -> GeneratedPictures:
        """One picture for each prompt; picture i depends on prompt i and seed i alone.

        Args:
            prompts: the prompts.
            seeds: one for each prompt.
            sampler: sampler settings.
            size: pixels, in multiples of `size_multiple`.
            negative_prompt: what guidance moves the pictures away from. Has no effect at a guidance scale of 1.
        """
        ...

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes the model in its present state (standard layouts: `diffusers/`, `model.safetensors`)."""
        ...

    def export_adapters(self, folder: Path, denoiser: dict[str, Tensor], text_encoder: dict[str, Tensor]) -> None:
        """Writes adapters in the layout that diffusers' pipelines load. The tensors have the names inside their
        modules."""
        ...

    def merge_adapters(self) -> None:
        """Adds the adapters to the weights and removes them."""
        ...

    def rescale_adapters(self, folder: Path, scale: float) -> None:
        """Changes the scale of adapters that were added to the weights.

        Args:
            folder: the adapters that `export_adapters` wrote.
            scale: 1 leaves the weights unchanged, 0 restores those of the base model.
        """
        ...
