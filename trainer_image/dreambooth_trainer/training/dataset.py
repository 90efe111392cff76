"""The dataset of the training, in the memory of the device. Made by `phases/cache.py`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth_trainer.models.base import LatentMoments, Tensors
from dreambooth_trainer.training.batch import Noised
from dreambooth_trainer.training.randomness import StepRandomness, step_randomness


@dataclass(frozen=True)
class CaptionDropout:
    """With which probability a photo has the prompt of its subject instead of its caption."""

    share_P: Tensor
    """The probability for each photo."""
    prompt_P: Tensor
    """Row number of the prompt of each photo's subject."""


@dataclass(frozen=True)
class Dataset:
    """All tensors that a training step reads, on the device. The pictures have one size."""

    photos: LatentMoments
    """Moments of the photos' latents, subject by subject, [P, C, H, W]."""
    class_latents: Tensor
    """Latents of the class images, [K, C, H, W]; K is 0 without prior preservation."""
    class_prompt_K: Tensor
    """Row number of each class image's prompt in `tokens`."""
    tokens: Tensors
    """Token ids [Q, L] of the prompts: first those of the subjects, then captions, then those of the class images, then those
    of other words."""
    prompts: Tensors
    """Conditioning on these prompts by the base model's text encoders."""
    images: Tensors
    """Conditioning on the framing of the images: of the P photos, then of the K class images."""
    class_pool: Noised | None = None
    """Noisy class images with the base model's predictions; None if the target of the class loss is the noise."""

    photo_prompt_P: Tensor | None = None
    """Row number in `tokens` of each photo's caption, or of the prompt of its subject; None if it is 0 for all."""
    caption_dropout: CaptionDropout | None = None
    """None if no caption is dropped."""
    photos_of_subjects: tuple[int, ...] = ()
    """Number of photos of each subject; empty if all are of the only one."""

    photo_weight_P1HW: Tensor | None = None
    """Weight of each place in the loss of each photo, of mean 1 over a photo; None for equal weights."""

    def photo_prompts(self, randomness: StepRandomness) -> Tensor:
        """Row number in `tokens` of the prompt of each photo in a step, [G]."""
        if self.photo_prompt_P is None:
            return torch.zeros_like(randomness.subject_G)
        prompt_G = self.photo_prompt_P[randomness.subject_G]
        if self.caption_dropout is None:
            return prompt_G
        dropped_G = randomness.caption_G < self.caption_dropout.share_P[randomness.subject_G]
        return torch.where(dropped_G, self.caption_dropout.prompt_P[randomness.subject_G], prompt_G)

    @property
    def photos_of_each(self) -> tuple[int, ...]:
        """Number of photos of each subject."""
        return self.photos_of_subjects or (len(self.photos.mean_BCHW),)

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
            first: how often photos of this dataset were seen before, if there are other datasets; see `place_in_order`.
        """
        mean_PCHW, rows = self.photos.mean_BCHW, range(batch) if rows is None else rows
        return step_randomness(
            seed,
            step,
            batch=batch,
            rows=rows,
            first=step * batch + rows.start if first is None else first,
            photos=self.photos_of_each,
            class_images=len(self.class_latents) if self.class_pool is None else len(self.class_pool),
            shape_CHW=mean_PCHW.shape[1:],
            device=mean_PCHW.device,
        )
