"""The dataset of the training, in the memory of the device. Made by `phases/cache.py`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth_trainer.models.base import LatentMoments, Tensors
from dreambooth_trainer.training.batch import Noised
from dreambooth_trainer.training.randomness import StepRandomness, step_randomness


@dataclass(frozen=True)
class Dataset:
    """All tensors that a training step reads, on the device. The pictures have one size."""

    photos: LatentMoments
    """Moments of the photos' latents, [P, C, H, W]."""
    class_latents: Tensor
    """Latents of the class images, [K, C, H, W]; K is 0 without prior preservation."""
    class_prompt_K: Tensor
    """Row number of each class image's prompt in `tokens`."""
    tokens: Tensors
    """Token ids [Q, L] of the prompts: first the subject's, then captions, then those of the class images, then those of
    other words."""
    prompts: Tensors
    """Conditioning on these prompts by the base model's text encoders."""
    images: Tensors
    """Conditioning on the framing of the images: of the P photos, then of the K class images."""
    class_pool: Noised | None = None
    """Noisy class images with the base model's predictions; None if the target of the class loss is the noise."""

    photo_prompt_P: Tensor | None = None
    """Row number of each photo's caption in `tokens`, 0 for a photo without one; None if no photo has one."""
    caption_dropout: float = 0
    """Probability with which a photo has the subject's prompt instead of its caption."""

    photo_weight_P1HW: Tensor | None = None
    """Weight of each place in the loss of each photo, of mean 1 over a photo; None for equal weights."""

    def photo_prompts(self, randomness: StepRandomness) -> Tensor:
        """Row number in `tokens` of the prompt of each photo in a step, [G]."""
        if self.photo_prompt_P is None:
            return torch.zeros_like(randomness.subject_G)
        kept_G = randomness.caption_G >= self.caption_dropout
        return self.photo_prompt_P[randomness.subject_G] * kept_G

    @property
    def class_image_K(self) -> Tensor:
        """Number of each class image in `images`."""
        device = self.class_prompt_K.device
        return torch.arange(len(self.class_prompt_K), device=device) + len(self.photos.mean_BCHW)

    def randomness(
        self, seed: int, step: int, batch: int, rows: range | None = None, first: int | None = None
    ) -> StepRandomness:
        """The random numbers of an optimizer step for these photos and class images; see `step_randomness`.

        Args:
            seed: seed of the run.
            step: number of the step, from 0.
            batch: photos in the step over all processes.
            rows: rows that are computed at once; None for all.
            first: how often photos of this dataset were seen before, if there are other datasets.
        """
        mean_PCHW, rows = self.photos.mean_BCHW, range(batch) if rows is None else rows
        return step_randomness(
            seed,
            step,
            batch=batch,
            rows=rows,
            first=step * batch + rows.start if first is None else first,
            photos=len(mean_PCHW),
            class_images=len(self.class_latents) if self.class_pool is None else len(self.class_pool),
            shape_CHW=mean_PCHW.shape[1:],
            device=mean_PCHW.device,
        )
