"""The random numbers of the training, as a pure function of the seed and the step.

There is no state between steps, so that a resumed run uses the same random numbers as an uninterrupted one. The noise of
each row has a seed of its own, so that each process generates only its rows, and the number of processes does not
change the training.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepRandomness:
    """The random numbers of the rows that a process computes at once, G each of subject and class."""

    subject_G: Tensor
    """Indices of photos."""
    class_G: Tensor
    """Indices of class images, or of rows of their pool."""
    uniform_N: Tensor
    """Numbers in [0, 1) from which timesteps are made, N = 2G (subject rows first), or G without class images."""
    noise_NCHW: Tensor
    """Standard normal noise that is added to the latents."""
    posterior_GCHW: Tensor
    """Standard normal noise that samples latents of photos from the autoencoder's Gaussian."""
    caption_G: Tensor
    """Numbers in [0, 1) that decide which captions are dropped."""


def step_randomness(
    seed: int,
    step: int,
    *,
    batch: int,
    rows: range,
    first: int,
    photos: Sequence[int],
    class_images: int,
    shape_CHW: torch.Size,
    device: torch.device,
) -> StepRandomness:
    """The random numbers of some rows of an optimizer step.

    Timesteps are stratified: the rows of the subject, and those of the class, are evenly spaced in [0, 1) with one
    random offset each, which lowers the variance of the loss (Kingma et al., arXiv:2107.00630, appendix I.1).

    Args:
        seed: seed of the run.
        step: number of the step, from 0.
        batch: photos in the step over all processes and accumulated batches.
        rows: G of `range(batch)`.
        first: how often photos were seen before the first of these rows.
        photos: number of photos of each subject; those of a subject follow those of the one before.
        class_images: number of class images, or of rows of their pool; 0 without prior preservation.
        shape_CHW: shape of a latent.
        device: device of the random numbers.
    """
    of_step = _mix(seed, step)
    generator = torch.Generator(device).manual_seed(of_step)
    halves = 2 if class_images else 1
    strata = torch.arange(rows.start, rows.stop, device=device).repeat(halves) / batch
    offset = torch.rand(halves, generator=generator, device=device).repeat_interleave(len(rows))
    noise_NCHW = torch.empty((halves * len(rows), *shape_CHW), device=device)
    posterior_GCHW = torch.empty((len(rows), *shape_CHW), device=device)
    numbers = [half * batch + row for half in range(halves) for row in rows]
    for number, *targets in itertools.zip_longest(numbers, noise_NCHW, posterior_GCHW):
        generator.manual_seed(_mix(of_step, number))
        for target in targets:
            if target is not None:
                target.normal_(generator=generator)
    generator.manual_seed(_mix(of_step, 2 * batch))
    captions_B = torch.rand(batch, generator=generator, device=device)
    return StepRandomness(
        subject_G=balanced_indices(seed, first, len(rows), photos, device),
        class_G=shuffled_indices(seed + 1, first, len(rows), class_images, device),
        uniform_N=(strata + offset).remainder(1),
        noise_NCHW=noise_NCHW,
        posterior_GCHW=posterior_GCHW,
        caption_G=captions_B[rows.start : rows.stop],
    )


def balanced_indices(seed: int, start: int, count: int, sizes: Sequence[int], device: torch.device) -> Tensor:
    """Positions `start` to `start + count` of an endless sequence that takes one photo of each subject in turn, [count].

    So each subject has the same share, and each photo of a subject is seen equally often.

    Args:
        seed: seed of the run.
        start: the first position.
        count: number of positions.
        sizes: number of photos of each subject. A subject without photos here is never asked for.
        device: device of the indices.
    """
    subjects = len(sizes)
    first, last = start // subjects, (start + count - 1) // subjects
    offsets = itertools.accumulate(sizes, initial=0)
    turns_RS = [
        offset + shuffled_indices(seed + 2 * number, first, last - first + 1, size or 1, device)
        for number, (offset, size) in enumerate(zip(offsets, sizes, strict=False))
    ]
    return torch.stack(turns_RS, dim=1).flatten()[start - first * subjects :][:count]


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
