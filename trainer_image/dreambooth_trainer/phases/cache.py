"""Computes the datasets on the device: latents of photos and class images, token ids of the prompts, and the base
model's predictions for noisy class images. Pictures of each size have a dataset of their own.

A dataset of some hundred images takes a few megabytes. Each start computes it again, so that it needs no space on the
volume.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dreambooth_api.failures import NonFiniteLoss
from dreambooth_api.prompts import fill, fill_for_one, words_of
from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.data.identifier import pick_words
from dreambooth_trainer.models.base import Framing, Tensors
from dreambooth_trainer.models.batches import with_what_fits
from dreambooth_trainer.models.conditioning import conditioning_on
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.phases.prepare import PreparedPhoto
from dreambooth_trainer.phases.prior import ClassImageSet, GeneratedClassImages, pixels_of
from dreambooth_trainer.run import Run
from dreambooth_trainer.training.batch import Noised, add_noise, predicted_by
from dreambooth_trainer.training.dataset import CaptionDropout, Dataset


def make_datasets(run: Run, photos: Sequence[PreparedPhoto], prior: GeneratedClassImages | None) -> Sequence[Dataset]:
    """Encodes photos and prompts, and reads the latents of the class images: a dataset for each size of the pictures.

    Args:
        run: the run.
        photos: the photos, subject by subject, in the order of their files.
        prior: the class images; None without prior preservation.
    """
    sets = prior.sets if prior else []
    noisings = run.config.prior.noisings if run.config.prior.target == "prediction" else 0
    total = noisings * sum(one.count for one in sets)
    with run.progress.phase("cache", total=total or None, unit="predictions") as phase, torch.no_grad():
        prompts = _encode_prompts(run, photos, sets)
        by_size: dict[Size, list[tuple[PreparedPhoto, Tensor]]] = {}
        for photo, x_CHW in zip(photos, read_pictures(run.folder.photos / one.file for one in photos), strict=True):
            by_size.setdefault((x_CHW.shape[2], x_CHW.shape[1]), []).append((photo, x_CHW))
        datasets = [
            _dataset(run, size, of_size, [one for one in sets if one.size == size], prompts)
            for size, of_size in by_size.items()
        ]
        for one in datasets:
            require_finite("the autoencoder", one.photos.mean_BCHW, one.photos.std_BCHW)
        require_finite("the text encoder", *prompts.conditioning.values())
        if total == 0:
            return datasets
        empty = next((row for row, text in enumerate(prompts.texts) if text == ""), None)
        others = range(len(prompts.texts), len(prompts.texts) + prompts.others)
        versions = [_prompts_of_noisings(one.class_prompt_K, noisings, empty, others) for one in datasets]
        with run.model.denoising():
            return [
                replace(one, class_pool=_class_pool(run, phase, one, prompt_RK))
                for one, prompt_RK in zip(datasets, versions, strict=True)
            ]


@dataclass(frozen=True)
class _Prompts:
    """The prompts of a training."""

    of_photos: Sequence[str]
    """The prompt of each subject, and the captions."""
    of_classes: Sequence[str]
    """Those of the class images, which follow."""
    others: int
    """Number of prompts of other words, which follow."""
    tokens: Tensors
    conditioning: Tensors

    @property
    def texts(self) -> Sequence[str]:
        """Prompts of photos and class images, by their rows."""
        return [*self.of_photos, *self.of_classes]


def _encode_prompts(run: Run, photos: Sequence[PreparedPhoto], sets: Sequence[ClassImageSet]) -> _Prompts:
    subjects = zip(run.config.all_subjects.values(), run.words, strict=True)
    captions = dict.fromkeys(_caption(run, photo) for photo in photos if photo.caption)
    of_photos = [
        *(fill(one.prompt, identifier=words.identifier, class_=words.class_) for one, words in subjects),
        *captions,
    ]
    of_classes = list(dict.fromkeys(one.prompt for one in sets))
    others = _prompts_of_other_words(run) if "" in of_classes else []
    tokens = run.model.tokenize([*of_photos, *of_classes, *others])
    return _Prompts(of_photos, of_classes, len(others), tokens, conditioning_on(run.model, tokens))


def _caption(run: Run, photo: PreparedPhoto) -> str:
    """The caption of a photo, filled in; empty if it has none."""
    return fill_for_one(photo.caption or "", run.words[photo.subject], run.words)


def _dataset(
    run: Run,
    size: Size,
    pictures: Sequence[tuple[PreparedPhoto, Tensor]],
    sets: Sequence[ClassImageSet],
    prompts: _Prompts,
) -> Dataset:
    """The dataset of one size, without the base model's predictions."""
    device, photos, (width, height) = run.distributed.device, [photo for photo, _ in pictures], size
    moments = run.model.encode_images(torch.stack([x_CHW for _, x_CHW in pictures]).to(device))
    latents = [one.images.latents(range(one.count)).to(device) for one in sets]
    subjects = list(run.config.all_subjects.values())
    of_photos = [photo.subject for photo in photos]
    captions = [_caption(run, photo) for photo in photos]
    dropped = [subjects[number].caption_dropout for number in of_photos]
    class_prompts = [one.prompt for one in sets for _ in range(one.count)]
    framings = [*(framing_of(photo, size) for photo in photos), *[Framing(height, width)] * len(class_prompts)]
    return Dataset(
        photos=moments,
        class_latents=torch.cat([moments.mean_BCHW[:0], *latents]),
        class_prompt_K=torch.tensor(
            [len(prompts.of_photos) + prompts.of_classes.index(prompt) for prompt in class_prompts],
            dtype=torch.long,
            device=device,
        ),
        tokens=prompts.tokens,
        prompts=prompts.conditioning,
        images=run.model.encode_framings(framings, size),
        photo_prompt_P=torch.tensor(
            [
                prompts.of_photos.index(caption) if caption else number
                for caption, number in zip(captions, of_photos, strict=True)
            ],
            device=device,
        )
        if any(captions) or len(subjects) > 1
        else None,
        caption_dropout=CaptionDropout(
            torch.tensor(dropped, device=device), torch.tensor(of_photos, dtype=torch.long, device=device)
        )
        if any(dropped)
        else None,
        photos_of_subjects=tuple(of_photos.count(number) for number in range(len(subjects))),
        photo_weight_P1HW=loss_weights(run.folder.masks, photos, moments.mean_BCHW)
        if any(photo.masked for photo in photos)
        else None,
    )


def loss_weights(masks: Path, photos: Sequence[PreparedPhoto], latents_PCHW: Tensor) -> Tensor:
    """Weight of each place in the loss of each photo, [P, 1, H, W], of mean 1 over a photo.

    A latent counts as the part of its area, in pixels, that is the subject's. Since the weights of a photo have mean 1,
    subjects of all sizes count equally, also in relation to the class images.

    Args:
        masks: folder of the masks.
        photos: the photos, in the order of their latents.
        latents_PCHW: their latents.
    """
    weights_P1HW = torch.ones_like(latents_PCHW[:, :1])
    for photo, weight_1HW in zip(photos, weights_P1HW, strict=True):
        if photo.masked:
            with Image.open(masks / photo.file) as mask:
                pixels_1HW = torch.from_numpy(np.asarray(mask, np.float32)[None].copy())
            cover_1HW = adaptive_avg_pool2d(pixels_1HW, weight_1HW.shape[1:])
            weight_1HW.copy_(cover_1HW / cover_1HW.mean())
    return weights_P1HW


def framing_of(photo: PreparedPhoto, size: Size) -> Framing:
    """How a photo was framed: scaled until it covers a size, then cut in the middle."""
    width, height = size
    scale = max(width / photo.width, height / photo.height)
    top, left = round((photo.height * scale - height) / 2), round((photo.width * scale - width) / 2)
    return Framing(photo.height, photo.width, top, left)


def _prompts_of_other_words(run: Run) -> list[str]:
    """Prompts of the class with other words in the place of the class; empty if no predictions are needed."""
    prior, subjects = run.config.prior, run.config.all_subjects.values()
    if prior.target == "noise":
        return []
    of_subjects = [text for one in subjects for text in (one.class_, one.prompt)]
    excluded = words_of(*run.identifiers, *of_subjects, prior.prompt)
    words = pick_words(run.model.vocabulary(), prior.other_words, excluded, run.config.training.seed)
    return [fill(prior.prompt, identifier="", class_=word) for word in words]


def _prompts_of_noisings(prompt_K: Tensor, noisings: int, empty: int | None, others: range) -> Tensor:
    """The prompt of each noisy version of each class image, [R, K].

    It is the prompt with which the image was generated. For images of the empty prompt, every other version gets the
    prompt of another word instead.

    Args:
        prompt_K: prompt with which each image was generated.
        noisings: versions R of each image.
        empty: the empty prompt; None if no image was generated with it.
        others: prompts of other words.
    """
    prompt_RK = prompt_K.repeat(noisings, 1)
    if empty is None or not others:
        return prompt_RK
    version_R1, image_K = (
        torch.arange(noisings, device=prompt_K.device)[:, None],
        torch.arange(len(prompt_K), device=prompt_K.device),
    )
    replaced_RK = (prompt_RK == empty) & ((version_R1 + image_K) % 2 == 1)
    prompt_RK[replaced_RK] = others.start + torch.arange(int(replaced_RK.sum()), device=prompt_K.device) % len(others)
    return prompt_RK


def _class_pool(run: Run, phase: RunningPhase, dataset: Dataset, prompt_RK: Tensor) -> Noised:
    """Every class image at several noise levels, with the base model's predictions, which the processes share out."""
    latents = dataset.class_latents.repeat(len(prompt_RK), 1, 1, 1)
    generator = torch.Generator().manual_seed(run.config.training.seed)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    # Fractional parts of multiples of the golden ratio: each part of the pool, and each image, covers all timesteps
    # evenly.
    uniform = (torch.arange(len(latents), dtype=torch.float64) * ((5**0.5 - 1) / 2)).remainder(1).float()
    rows = add_noise(
        run.model.objective,
        latents,
        noise,
        uniform.to(latents.device),
        prompt_N=prompt_RK.flatten(),
        image_N=dataset.class_image_K.repeat(len(prompt_RK)),
    )
    distributed, targets = run.distributed, torch.zeros(latents.shape, device=latents.device)
    at_once = 2 * run.config.prior.batch_size

    def predict(indices_B: Tensor, at_once: int) -> None:
        for part in indices_B.split(at_once):
            targets[part] = predicted_by(run.model, rows[part], dataset.prompts, dataset.images)

    for number, indices_B in enumerate(torch.arange(len(rows), device=latents.device).split(at_once)):
        run.stop.check()
        if number % distributed.size == distributed.rank:
            _, at_once = with_what_fits(partial(predict, indices_B), at_once)
            require_finite("the UNet", targets[indices_B])
        phase.advance(len(indices_B))
    return replace(rows, target_NCHW=distributed.sum(targets))


def require_finite(part: str, *tensors: Tensor) -> None:
    """Checks numbers before the training, which would fail with them later.

    Raises:
        NonFiniteLoss: a number is NaN or infinite.
    """
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise NonFiniteLoss(
            f"{part} of the base model computes numbers that are not finite. Give another model, or another copy of "
            "it; with training.mixedPrecision fp16, use bf16 or fp32."
        )


def read_pictures(paths: Iterable[Path]) -> list[Tensor]:
    """PNG pictures, each [3, H, W] in -1..1."""
    return [pixels_of(Image.open(path).convert("RGB")) for path in paths]
