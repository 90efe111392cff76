"""What the families have in common whose denoiser is a transformer that was trained by flow matching."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from dreambooth_api.training import Sampler
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.objectives.rectified_flow import RectifiedFlow
from dreambooth_trainer.models.sources import CONFIGURATION

ANCESTRAL = ("ddpm", "euler-ancestral")
"""Values of `scheduler` that add fresh noise at each step."""

NATIVE_SIDE = 128
"""Latents of a side of the pictures, if the pipeline doesn't say how many."""


class FlowTransformer(LatentDiffusion):
    """A loaded model; the common part of the families.

    All parts but the denoiser are frozen, and their files are copied to the exported model.
    """

    objective: RectifiedFlow
    density: ClassVar[Literal["uniform", "logit-normal"]] = "uniform"
    """Distribution of the noise levels in the training; see `RectifiedFlow`."""
    patch: ClassVar[int] = 2
    """Side of the squares of latents that are one token of the transformer."""
    text_lengths: ClassVar[Mapping[str, int]] = {}
    """Tokens that the pipeline gives to a text encoder, if they are not as many as its tokenizer says."""

    def _set_up(self) -> None:
        for name, length in self.text_lengths.items():
            self.tokenizers[name].model_max_length = length
        self.objective = RectifiedFlow(self.pipeline.scheduler.config, self.density)
        self.size_multiple = self.patch * self.pipeline.vae_scale_factor
        side = getattr(self.pipeline, "default_sample_size", NATIVE_SIDE)
        self.resolution = int(side) * self.pipeline.vae_scale_factor

    def _positions(self, *lengths: int) -> Tensor:
        """Coordinates of all tokens of a grid of these lengths, [N, axes]."""
        return torch.cartesian_prod(*(torch.arange(length, device=self.device) for length in lengths))

    def _packed(self, z_BCHW: Tensor) -> Tensor:
        """Tokens [B, N, D] of latents, each of which is a square of them."""
        return pixel_unshuffle(z_BCHW, self.patch).flatten(2).transpose(1, 2)

    def _unpacked(self, tokens_BND: Tensor, height: int, width: int) -> Tensor:
        """Latents [B, C, H, W] of tokens; the inverse of `_packed`.

        Args:
            tokens_BND: the tokens.
            height: rows of tokens.
            width: columns of tokens.
        """
        return pixel_shuffle(tokens_BND.transpose(1, 2).unflatten(2, (height, width)), self.patch)

    def _from_pipeline(self, latents: Tensor, height: int, width: int) -> Tensor:
        if latents.dim() > 3:
            return latents
        # Some pipelines return tokens.
        return self._unpacked(latents, height // self.size_multiple, width // self.size_multiple)

    def _scheduler(self, sampler: Sampler, generators: Sequence[torch.Generator]) -> SchedulerMixin:
        settings: dict[str, Any] = {"stochastic_sampling": sampler.scheduler in ANCESTRAL}
        if sampler.steps == 1:
            # The scheduler would stretch the noise levels after the first one, of which there are none, to NaN.
            settings["shift_terminal"] = None
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.objective.scheduler, **settings)
        # The pipelines don't pass their generators on to the steps.
        scheduler.step = partial(scheduler.step, generator=list(generators))
        return scheduler

    def add_adapters(self, folder: Path) -> None:
        """Adds adapters next to the weights. Some pipelines would read the shapes of the weights, which quantized layers don't
        have; the denoiser itself doesn't."""
        adapters = load_file(folder / LORA_WEIGHT_NAME_SAFE)
        self.denoiser.load_lora_adapter(adapters, prefix=self.family().denoiser)

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Writes `diffusers/` for `from_pretrained`."""
        target, denoiser = folder / "diffusers", self.family().denoiser
        for source in self._frozen_files():
            name = target / source.relative_to(self._folder)
            name.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, name)
        self.denoiser.save_pretrained(target / denoiser)

    @property
    def _folder(self) -> Path:
        if self.origin is None:
            raise ValueError("a model that was not loaded from a folder can't be exported")
        return self.origin

    def _frozen_files(self) -> Iterator[Path]:
        """The files of all parts but the denoiser. Of hub repositories the folder holds only what was downloaded."""
        yield self._folder / "model_index.json"
        for part in self.family().folders:
            if part != self.family().denoiser:
                for pattern in (*CONFIGURATION, "*.safetensors"):
                    yield from sorted((self._folder / part).glob(pattern))
