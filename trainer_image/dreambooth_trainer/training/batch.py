"""Noisy latents with the target of the denoiser's prediction. Made by `phases/cache.py` and `module.py`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth_trainer.models.base import Conditioning, ModelFamily


@dataclass(frozen=True)
class Noised:
    """Rows of a batch, or of a pool from which batches are selected."""

    noisy_NCHW: Tensor
    t_N: Tensor
    """Timesteps."""
    target_NCHW: Tensor
    """Target of the denoiser's prediction."""
    prompt_N: Tensor
    """Row number of each row's prompt in the dataset."""

    def __getitem__(self, rows_G: Tensor) -> "Noised":
        """The rows with these indices."""
        return Noised(self.noisy_NCHW[rows_G], self.t_N[rows_G], self.target_NCHW[rows_G], self.prompt_N[rows_G])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.t_N)

    def followed_by(self, other: "Noised") -> "Noised":
        """These rows, followed by the other ones."""
        return Noised(
            torch.cat([self.noisy_NCHW, other.noisy_NCHW]),
            torch.cat([self.t_N, other.t_N]),
            torch.cat([self.target_NCHW, other.target_NCHW.to(self.target_NCHW.dtype)]),
            torch.cat([self.prompt_N, other.prompt_N]),
        )


def add_noise(
    model: ModelFamily, clean_NCHW: Tensor, noise_NCHW: Tensor, uniform_N: Tensor, prompt_N: Tensor
) -> Noised:
    """Noisy latents of the forward process at the timesteps for numbers in [0, 1), with the noise (or velocity) as the
    target."""
    t_N = model.timesteps(uniform_N)
    noisy, target = model.add_noise(clean_NCHW, noise_NCHW, t_N), model.target(clean_NCHW, noise_NCHW, t_N)
    return Noised(noisy, t_N, target, prompt_N)


@torch.no_grad()
def predicted_by(model: ModelFamily, rows: Noised, conditioning: Conditioning) -> Tensor:
    """The model's own prediction of each row, [N, C, H, W], as a target.

    If the clean latents are samples of the model itself, its prediction is the mean of the noise, given the noisy
    latent. A loss against it has the same minimum as a loss against the noise, without the variance of the noise.

    Args:
        model: the frozen base model.
        rows: noisy latents, of one forward pass.
        conditioning: conditioning of the dataset's prompts.
    """
    dtype = next(model.denoiser.parameters()).dtype
    prompts = {name: value.to(dtype)[rows.prompt_N] for name, value in conditioning.items()}
    with model.arithmetic():
        return model.predict(rows.noisy_NCHW.to(dtype), rows.t_N, prompts).float().contiguous()
