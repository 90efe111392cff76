"""The random numbers of the training, as a pure function of the seed and the step.

There is no state between steps, so that a resumed run uses the same random numbers as an uninterrupted one. Every rank
uses its rows of the same global random numbers, so that the number of processes does not change the training.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepRandomness:
    """The random numbers of one optimizer step, G rows each of subject and class."""

    subject_G: Tensor
    """Indices of photos."""
    class_G: Tensor
    """Indices of class images, or of rows of their pool."""
    uniform_N: Tensor
    """Numbers in [0, 1) from which timesteps are made, N = 2G (subject rows first), or G without class images."""
    noise_NCHW: Tensor
    """Standard normal noise that is added to the latents."""
    posterior_NCHW: Tensor
    """Standard normal noise that samples latents from the autoencoder's Gaussian."""

    def rows(self, start: int, stop: int) -> "StepRandomness":
        """Rows `start` to `stop` of the subject and of the class."""

        def of_both(rows_N: Tensor) -> Tensor:
            # Slices, since a tensor of indices would be copied from the host, which would wait for the device.
            return rows_N.unflatten(0, (-1, len(self.subject_G)))[:, start:stop].flatten(0, 1)

        return StepRandomness(
            self.subject_G[start:stop],
            self.class_G[start:stop],
            of_both(self.uniform_N),
            of_both(self.noise_NCHW),
            of_both(self.posterior_NCHW),
        )


def step_randomness(
    seed: int, step: int, *, batch: int, photos: int, class_images: int, shape_CHW: torch.Size, device: torch.device
) -> StepRandomness:
    """The random numbers of one optimizer step.

    Timesteps are stratified: the rows of the subject, and those of the class, are evenly spaced in [0, 1) with one
    random offset each, which lowers the variance of the loss (Kingma et al., arXiv:2107.00630, appendix I.1).

    Args:
        seed: seed of the run.
        step: number of the step, from 0.
        batch: global batch G: photos in the step over all processes and accumulated batches.
        photos: number of photos.
        class_images: number of class images, or of rows of their pool; 0 without prior preservation.
        shape_CHW: shape of a latent.
        device: device of the random numbers.
    """
    generator = torch.Generator(device).manual_seed(_mix(seed, step))
    halves = 2 if class_images else 1
    strata = torch.arange(batch, device=device).repeat(halves) / batch
    offset = torch.rand(halves, generator=generator, device=device).repeat_interleave(batch)
    shape = (halves * batch, *shape_CHW)
    return StepRandomness(
        subject_G=shuffled_indices(seed, step * batch, batch, photos, device),
        class_G=shuffled_indices(seed + 1, step * batch, batch, class_images, device),
        uniform_N=(strata + offset).remainder(1),
        noise_NCHW=torch.randn(shape, generator=generator, device=device),
        posterior_NCHW=torch.randn(shape, generator=generator, device=device),
    )


def shuffled_indices(seed: int, start: int, count: int, size: int, device: torch.device) -> Tensor:
    """Positions `start` to `start + count` of an endless sequence of permutations of `range(size)`, [count].

    Every image is seen equally often; an empty tensor where `size` is 0.
    """
    if size == 0:
        return torch.empty(0, dtype=torch.long, device=device)
    first, last = start // size, (start + count - 1) // size
    epochs = [
        torch.randperm(size, generator=torch.Generator(device).manual_seed(_mix(seed, -1 - epoch)), device=device)
        for epoch in range(first, last + 1)
    ]
    return torch.cat(epochs)[start - first * size :][:count]


def _mix(seed: int, index: int) -> int:
    """A seed for the index-th generator of a run. Neighbouring seeds and indices give independent generators
    (SplitMix64)."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + index * 0xD1B54A32D192ED03) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1
