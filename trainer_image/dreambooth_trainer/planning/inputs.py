"""What the phases of a planned run work on: as many photos, class images and prompts as the run has, without memory."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreambooth_api.prompts import fill
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.data.folder import read_folder
from dreambooth_trainer.data.own_class_images import own_class_images
from dreambooth_trainer.models.base import Framing, LatentMoments, Tensors
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.training.batch import Noised
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.randomness import StepRandomness

USUAL_PHOTOS = 5
"""Photos of a subject whose photos are not at hand."""


@dataclass(frozen=True)
class Counts:
    """Numbers of the inputs of a run."""

    photos: int
    captions: int
    masked: bool
    """Whether photos have masks."""
    class_images: int
    own_class_images: int
    """Class images that are encoded instead of generated."""
    predictions: int
    """Rows of the pool of noisy class images; 0 if the target is the noise."""
    prompts: int
    """Prompts that are encoded: of photos, of class images, and of other words."""

    @classmethod
    def of(cls, config: TrainConfig) -> "Counts":
        """The numbers of a run."""
        subjects, prior = config.all_subjects.values(), config.prior
        photos = captions = 0
        for one in subjects:
            contents = read_folder(Path(one.images.path)) if one.images.path else None
            mine = len(contents.photos) if contents else USUAL_PHOTOS
            photos += mine
            captions += mine if one.captions or (contents and (contents.captions or contents.table)) else 0
        masked, of_photos = any(one.mask == "loss" for one in subjects), len(subjects) + captions
        if not prior.enabled:
            return cls(photos, captions, masked, 0, 0, 0, of_photos)
        predicts = prior.target == "prediction"
        return cls(
            photos=photos,
            captions=captions,
            masked=masked,
            class_images=config.class_images,
            own_class_images=len(own_class_images(config)),
            predictions=config.class_images * prior.noisings if predicts else 0,
            prompts=of_photos + len(config.classes) + 1 + (prior.other_words if predicts else 0),
        )


@dataclass(frozen=True)
class Inputs:
    """Makes inputs of a model from one row of each, in the mode of the model's tensors."""

    model: LatentDiffusion
    picture_1CHW: Tensor
    latent_1CHW: Tensor
    tokens: Tensors
    """What `tokenize` returns for a prompt."""
    prompt: Tensors
    """What `encode_prompts` returns for it."""
    framing: Tensors
    """What `encode_framings` returns for a picture."""

    @classmethod
    @torch.no_grad()
    def of(cls, model: LatentDiffusion, side: int, prompt: Tensors) -> "Inputs":
        """The inputs of a model, whose tensors are those of the present mode.

        Args:
            model: the model.
            side: side of the pictures in pixels.
            prompt: token ids of a prompt. For a family that computes without padding, all prompts are as long.
        """
        tokens = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in prompt.items()}
        encoded = model.encode_prompts(tokens)
        if not model.fixed_shapes:
            encoded = {name: value for name, value in encoded.items() if name != "mask"}
        picture_1CHW = torch.zeros(1, 3, side, side)
        latent_1CHW = model.encode_images(picture_1CHW).mean_BCHW
        framing = model.encode_framings([Framing(side, side)], (side, side))
        return cls(model, picture_1CHW, latent_1CHW, tokens, encoded, framing)

    def pictures(self, count: int) -> Tensor:
        """Pictures, [count, 3, H, W]."""
        return _rows(self.picture_1CHW, count)

    def latents(self, count: int) -> Tensor:
        """Latents of pictures, [count, C, H, W]."""
        return _rows(self.latent_1CHW, count)

    def timesteps(self, count: int) -> Tensor:
        """Timesteps, [count]."""
        return self.model.objective.timesteps(torch.zeros(count))

    def token_ids(self, count: int) -> Tensors:
        """Token ids of prompts."""
        return _like(self.tokens, count)

    def conditioning(self, count: int) -> Tensors:
        """Conditioning on prompts."""
        return _like(self.prompt, count)

    def framings(self, count: int) -> Tensors:
        """Conditioning on the framing of pictures."""
        return _like(self.framing, count)

    def dataset(self, counts: Counts) -> Dataset:
        """The dataset of the training."""
        photos, noisy = self.latents(counts.photos), self.latents(counts.predictions)
        pool = Noised(
            noisy, self.timesteps(len(noisy)), torch.zeros_like(noisy), _numbers(len(noisy)), _numbers(len(noisy))
        )
        return Dataset(
            photos=LatentMoments(photos, torch.zeros_like(photos)),
            class_latents=self.latents(counts.class_images),
            class_prompt_K=_numbers(counts.class_images),
            tokens=self.token_ids(counts.prompts),
            prompts=self.conditioning(counts.prompts),
            images=self.framings(counts.photos + counts.class_images),
            class_pool=pool if counts.predictions else None,
            photo_prompt_P=_numbers(counts.photos) if counts.captions else None,
            photo_weight_P1HW=torch.zeros_like(photos[:, :1]) if counts.masked else None,
        )

    def randomness(self, photos: int, *, class_images: bool) -> StepRandomness:
        """The random numbers of a step.

        Args:
            photos: photos of the process.
            class_images: whether there are as many class images.
        """
        noise = self.latents(2 * photos if class_images else photos)
        return StepRandomness(
            subject_G=_numbers(photos),
            class_G=_numbers(photos if class_images else 0),
            uniform_N=torch.zeros(len(noise)),
            noise_NCHW=noise,
            posterior_GCHW=self.latents(photos),
            caption_G=torch.zeros(photos),
        )


def prompt_of(model: LatentDiffusion, config: TrainConfig) -> Tensors:
    """Token ids of the prompt of the photos of a subject; without padding for a family that computes without it."""
    subject = next(iter(config.all_subjects.values()))
    model.device = torch.device("cpu")
    tokens = model.tokenize([fill(subject.prompt, identifier=subject.identifier, class_=subject.class_)])
    return (
        tokens if model.fixed_shapes else {name: value[:, tokens["mask"][0].bool()] for name, value in tokens.items()}
    )


def _like(one: Tensors, count: int) -> Tensors:
    return {name: _rows(value, count) for name, value in one.items()}


def _rows(one: Tensor, count: int) -> Tensor:
    """As many rows as the first one of a tensor."""
    return torch.zeros((count, *one.shape[1:]), dtype=one.dtype)


def _numbers(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)
