"""The protocol of a model family: all that the phases need to know of Stable Diffusion, or of a family to come."""

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
"""What a denoiser takes beside the noisy latents: named tensors whose first dimension is the prompt, so that a family may add
pooled embeddings, masks or sizes."""


Size = int | tuple[int, int]
"""Pixels of a picture: of each side of a square, or width and height."""


@dataclass(frozen=True)
class LatentMoments:
    """Mean and standard deviation of the encoder's Gaussian, both [B, C, H, W], in the denoiser's scale."""

    mean_BCHW: Tensor
    std_BCHW: Tensor


@dataclass(frozen=True)
class Drawn:
    """Pictures and the latents that the sampler ended with."""

    images: list[Image.Image]
    latents_BCHW: Tensor


@dataclass(frozen=True)
class Identity:
    """What a base model is, wherever it is."""

    digest: str
    """SHA-256 over the weights, configurations and tokenizer that are loaded."""
    commit: str | None
    """Commit of the hub repository, where the model comes from one."""


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
        """Words of the tokenizer that stand alone, and their ids: word-final tokens without the word-end mark."""
        ...

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Token ids [B, L], padded."""
        ...

    def words_to_ids(self, text: str) -> list[int]:
        """Token ids of a text without the special ones."""
        ...

    def read_length(self, prompt: str) -> int:
        """How many characters of a prompt, from its beginning, the text encoder reads; `tokenize` cuts off the rest."""
        ...

    def encode_images(self, x_BCHW: Tensor) -> LatentMoments:
        """Moments of the latents of pictures in -1..1."""
        ...

    def encode_tokens(self, ids_BL: Tensor) -> Conditioning:
        """Conditioning of tokenised prompts; differentiable in the text encoder's weights."""
        ...

    def timesteps(self, uniform_B: Tensor) -> Tensor:
        """Timesteps [B] for numbers drawn uniformly from [0, 1)."""
        ...

    def add_noise(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """Noisy latents of the forward process."""
        ...

    def target(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """What the denoiser shall predict."""
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

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, size: Size, negative_prompt: str = ""
    ) -> Drawn:
        """One picture for each prompt; picture i depends on prompt i and seed i alone.

        Args:
            prompts: what to draw.
            seeds: one for each.
            sampler: how to draw.
            size: pixels, in multiples of `size_multiple`.
            negative_prompt: what guidance steers away from; has no effect at a guidance scale of 1.
        """
        ...

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes the model as it is now (stock layouts: `diffusers/`, `model.safetensors`)."""
        ...

    def export_adapters(self, folder: Path, denoiser: dict[str, Tensor], text_encoder: dict[str, Tensor]) -> None:
        """Writes adapters in the layout that stock pipelines load; the tensors are named as inside their modules."""
        ...

    def merge_adapters(self) -> None:
        """Adds the adapters to the weights that they adapt, and removes them."""
        ...

    def rescale_adapters(self, folder: Path, scale: float) -> None:
        """Changes the share that adapters have in weights that they were added to.

        Args:
            folder: the adapters, as `export_adapters` writes them.
            scale: 1 leaves the weights as they are, 0 gives those of the base model.
        """
        ...
