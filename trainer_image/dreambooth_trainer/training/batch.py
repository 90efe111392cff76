"""Noisy latents with what the denoiser shall predict of them; made by `phases/cache.py` and `module.py`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth_trainer.models.base import Conditioning, ModelFamily


@dataclass(frozen=True)
class Noised:
    """Rows of a batch, or of a pool that batches are picked from."""

    noisy_NCHW: Tensor
    t_N: Tensor
    """Timesteps."""
    target_NCHW: Tensor
    """What the denoiser shall predict."""
    prompt_N: Tensor
    """Which of the cached prompts each row belongs to."""

    def __getitem__(self, rows_G: Tensor) -> "Noised":
        """The rows of some indices."""
        return Noised(self.noisy_NCHW[rows_G], self.t_N[rows_G], self.target_NCHW[rows_G], self.prompt_N[rows_G])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.t_N)

    def beside(self, other: "Noised") -> "Noised":
        """These rows and then the other ones."""
        return Noised(
            torch.cat([self.noisy_NCHW, other.noisy_NCHW]),
            torch.cat([self.t_N, other.t_N]),
            torch.cat([self.target_NCHW, other.target_NCHW.to(self.target_NCHW.dtype)]),
            torch.cat([self.prompt_N, other.prompt_N]),
        )


def add_noise(
    model: ModelFamily, clean_NCHW: Tensor, noise_NCHW: Tensor, uniform_N: Tensor, prompt_N: Tensor
) -> Noised:
    """Latents of the forward process at the timesteps of numbers in [0, 1), with the noise (or velocity) to be found."""
    t_N = model.timesteps(uniform_N)
    noisy, target = model.add_noise(clean_NCHW, noise_NCHW, t_N), model.target(clean_NCHW, noise_NCHW, t_N)
    return Noised(noisy, t_N, target, prompt_N)


@torch.no_grad()
def predicted_by(model: ModelFamily, rows: Noised, conditioning: Conditioning) -> Tensor:
    """The model's own prediction of each row, [N, C, H, W], as a target.

    Where the clean latents are the model's own samples, its prediction is what the noise is on average, given the noisy latent:
    a loss against it has the same minimum as one against the noise, without the noise's variance.

    Args:
        model: the frozen base model.
        rows: noisy latents, of one forward pass.
        conditioning: of the cached prompts.
    """
    dtype = next(model.denoiser.parameters()).dtype
    prompts = {name: value.to(dtype)[rows.prompt_N] for name, value in conditioning.items()}
    with model.arithmetic():
        return model.predict(rows.noisy_NCHW.to(dtype), rows.t_N, prompts).float().contiguous()
