"""Noisy latents with the target of the denoiser's prediction. Made by `phases/cache.py` and `module.py`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth_trainer.models.base import ModelFamily, Objective, Tensors


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
    image_N: Tensor
    """Number of each row's image in the dataset."""

    def __getitem__(self, rows_G: Tensor) -> "Noised":
        """The rows with these indices."""
        return Noised(
            self.noisy_NCHW[rows_G],
            self.t_N[rows_G],
            self.target_NCHW[rows_G],
            self.prompt_N[rows_G],
            self.image_N[rows_G],
        )

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
            torch.cat([self.image_N, other.image_N]),
        )


def add_noise(
    objective: Objective,
    clean_NCHW: Tensor,
    noise_NCHW: Tensor,
    uniform_N: Tensor,
    *,
    prompt_N: Tensor,
    image_N: Tensor,
) -> Noised:
    """Noisy latents of the forward process at the timesteps for numbers in [0, 1), with the objective's target."""
    t_N = objective.timesteps(uniform_N)
    noisy, target = objective.add_noise(clean_NCHW, noise_NCHW, t_N), objective.target(clean_NCHW, noise_NCHW, t_N)
    return Noised(noisy, t_N, target, prompt_N, image_N)


@torch.no_grad()
def predicted_by(model: ModelFamily, rows: Noised, prompts: Tensors, images: Tensors) -> Tensor:
    """The model's own prediction of each row, [N, C, H, W], as a target.

    If the clean latents are samples of the model itself, its prediction is the mean of the target, given the noisy
    latent. A loss against it has the same minimum as a loss against the target, without the variance of the noise.

    Args:
        model: the frozen base model.
        rows: noisy latents, of one forward pass.
        prompts: conditioning on the dataset's prompts.
        images: conditioning on the framing of the dataset's images.
    """
    with model.arithmetic():
        prediction = model.predict(
            rows.noisy_NCHW, rows.t_N, select(prompts, rows.prompt_N), select(images, rows.image_N)
        )
    return prediction.float().contiguous()


def select(tensors: Tensors, rows_N: Tensor) -> Tensors:
    """Rows of named tensors."""
    return {name: value[rows_N] for name, value in tensors.items()}
