"""The autoencoder of a latent diffusion model: pictures to latents in the denoiser's scale, and back."""

from collections.abc import Iterator
from typing import cast

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from dreambooth_trainer.models.base import LatentMoments

AT_ONCE = 8
"""Most pictures that are encoded or decoded in one pass."""

PIXELS_AT_ONCE = 1024 * 1024
"""Pixels of a pass with more than one picture. A pass of so many takes gigabytes, and is no faster with more of them."""

SCALE = 8
"""Pixels of the side of a latent, in the models with large pictures."""


class Autoencoder:
    """An autoencoder whose latents the denoiser gets after a shift and with a scale."""

    def __init__(self, module: ModelMixin) -> None:
        self.module = module

    @torch.no_grad()
    def encode(self, x_BCHW: Tensor) -> LatentMoments:
        """Moments of the latents of pictures in -1..1."""
        moments = [self._moments(part) for part in _passes(x_BCHW, PIXELS_AT_ONCE)]
        mean, std = (torch.cat(parts) for parts in zip(*moments, strict=True))
        return LatentMoments(self.scaled(mean), self.scaled(std, is_deviation=True))

    @torch.no_grad()
    def decode(self, z_BCHW: Tensor) -> Tensor:
        """Pictures in -1..1, [B, 3, H, W], of latents in the denoiser's scale."""
        latents_BCHW = self._unscaled(z_BCHW.float())
        return torch.cat([self._pictures(part) for part in _passes(latents_BCHW, PIXELS_AT_ONCE // SCALE**2)])

    def scaled(self, latents_BCHW: Tensor, *, is_deviation: bool = False) -> Tensor:
        """Latents of the autoencoder in the denoiser's scale.

        Args:
            latents_BCHW: latents, or their standard deviations.
            is_deviation: whether they are deviations, which a shift leaves unchanged.
        """
        shift, scale = self._shift_and_scale()
        return (latents_BCHW if is_deviation else latents_BCHW - shift) * scale

    def _unscaled(self, z_BCHW: Tensor) -> Tensor:
        """The inverse of `scaled`."""
        shift, scale = self._shift_and_scale()
        return z_BCHW / scale + shift

    def _shift_and_scale(self) -> tuple[Tensor | float, Tensor | float]:
        """What is subtracted from the latents, and by what they are then multiplied; numbers or [C, 1, 1]."""
        config = self.module.config
        return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor

    def _moments(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the latents of pictures, both [B, C, H, W]."""
        gaussian = self.module.encode(x_BCHW).latent_dist
        return gaussian.mean, gaussian.std

    def _pictures(self, latents_BCHW: Tensor) -> Tensor:
        """Pictures, [B, 3, H, W], of latents."""
        return cast(Tensor, self.module.decode(latents_BCHW).sample)


def _passes(rows_BCHW: Tensor, places: int) -> Iterator[Tensor]:
    """Rows for each pass.

    Args:
        rows_BCHW: pictures or latents.
        places: pixels, or latents, of a pass with more than one row.
    """
    height, width = rows_BCHW.shape[2:]
    for part in rows_BCHW.split(min(AT_ONCE, max(1, places // (height * width)))):
        yield part.contiguous(memory_format=torch.channels_last)


class PatchedAutoencoder(Autoencoder):
    """That of FLUX.2: squares of 2 x 2 latents are one, which the statistics of a batch normalisation shift and scale."""

    def scaled(self, latents_BCHW: Tensor, *, is_deviation: bool = False) -> Tensor:
        """Squares of latents in the denoiser's scale; see `Autoencoder.scaled`."""
        return super().scaled(pixel_unshuffle(latents_BCHW, 2), is_deviation=is_deviation)

    def _unscaled(self, z_BCHW: Tensor) -> Tensor:
        return pixel_shuffle(super()._unscaled(z_BCHW), 2)

    def _shift_and_scale(self) -> tuple[Tensor, Tensor]:
        norm = self.module.bn
        variance = norm.running_var + self.module.config.batch_norm_eps
        return norm.running_mean[:, None, None], variance.rsqrt()[:, None, None]


class VideoAutoencoder(Autoencoder):
    """That of Qwen-Image: pictures are videos of one frame, and each channel of the latents has its own shift and scale."""

    def _moments(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        mean_BC1HW, std_BC1HW = super()._moments(x_BCHW.unsqueeze(2))
        return mean_BC1HW.squeeze(2), std_BC1HW.squeeze(2)

    def _pictures(self, latents_BCHW: Tensor) -> Tensor:
        return super()._pictures(latents_BCHW.unsqueeze(2)).squeeze(2)

    def _shift_and_scale(self) -> tuple[Tensor, Tensor]:
        config, device = self.module.config, self.module.device
        mean_C11, std_C11 = (
            torch.tensor(numbers, device=device)[:, None, None] for numbers in (config.latents_mean, config.latents_std)
        )
        return mean_C11, 1 / std_C11
