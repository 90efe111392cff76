"""Provides the class images: own ones, and others that the frozen base model generates, by default with ancestral sampling.

Own ones are encoded in the folder of the run, and used like generated ones from then on. A share of all is generated, and
later trained on, with the empty prompt. Each generated image has a fixed position in a fixed batch of images `k * B` to
`(k + 1) * B`, so that it is the same bit for bit after a restart, with any number of ranks, and in a longer run.
"""

import os
import random
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreambooth_api.failures import InvalidData, Problem
from dreambooth_api.progress import JsonModel
from dreambooth_trainer.data.class_images import ClassImages
from dreambooth_trainer.data.own_class_images import FIELD, OwnImage, own_class_images
from dreambooth_trainer.data.pictures import Unusable
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.process.storage import digest_of
from dreambooth_trainer.run import Run


class ClassImageSet(JsonModel):
    """Class images of one prompt."""

    prompt: str
    folder: str
    """Folder of the images: in the class-image cache, or in the folder of the run if the cache is read-only."""
    shared: str | None = None
    """Folder in a read-only class-image cache; None if the cache is writable."""
    count: int
    """Images that the training uses."""

    @property
    def images(self) -> ClassImages:
        """The images."""
        return ClassImages(Path(self.folder), Path(self.shared) if self.shared else None)


class GeneratedClassImages(JsonModel):
    """Result of the phase."""

    sets: list[ClassImageSet]
    generated: int
    """Images that this process generated; the others were in the cache, or are own ones."""


def generate_class_images(run: Run) -> GeneratedClassImages:
    """Encodes own class images, and generates the images that are missing in the class-image cache.

    Raises:
        InvalidData: an own class image can't be read any more.
    """
    prior, own, prompt = run.config.prior, own_class_images(run.config), run.fill(run.config.prior.prompt)
    counts = {prompt: prior.conditional_images - len(own), "": prior.unconditional_images}
    encoded = [_set_of(prompt, _encoded(run, own), len(own))] if own else []
    sets = encoded + [_set_of(prompt, _images(run, prompt), count) for prompt, count in counts.items() if count]
    missing = [set(one.images.missing(one.count)) for one in sets]
    there, generated = prior.images - sum(map(len, missing)), 0
    with run.progress.phase("prior", total=prior.images, unit="images", done=there) as phase:
        for one, absent in zip(sets, missing, strict=True):
            if one in encoded:
                _encode(run, phase, one.images, own, absent)
        incomplete = [(one, absent) for one, absent in zip(sets, missing, strict=True) if absent and one not in encoded]
        with run.model.denoising({one.prompt for one, _ in incomplete}) if incomplete else nullcontext():
            for one, absent in incomplete:
                generated += _generate(run, phase, one.images, one.prompt, absent)
    return GeneratedClassImages(sets=sets, generated=generated)


def _set_of(prompt: str, images: ClassImages, count: int) -> ClassImageSet:
    shared = str(images.shared) if images.shared else None
    return ClassImageSet(prompt=prompt, folder=str(images.folder), shared=shared, count=count)


def _encoded(run: Run, own: Sequence[OwnImage]) -> ClassImages:
    """Place of own class images in the folder of the run. They belong to its user: others can read the cache."""
    content = {"model": run.base.digest, "size": run.resolution, "pictures": [image.digest for image in own]}
    return ClassImages(run.folder.class_images / f"own-{digest_of(content)[:24]}")


@torch.no_grad()
def _encode(
    run: Run, phase: RunningPhase, images: ClassImages, own: Sequence[OwnImage], missing: Collection[int]
) -> None:
    """Encodes this process's part of the own class images, one by one, so that it does not depend on the others."""
    for index in sorted(missing):
        if index % run.distributed.size == run.distributed.rank:
            run.stop.check()
            try:
                picture = own[index].square(run.resolution)
            except Unusable as reason:
                raise InvalidData([Problem(FIELD, str(own[index].path), *reason.args)]) from reason
            images.add(index, picture, run.model.encode_images(pixels_of(picture)[None]).mean_BCHW[0])
            phase.advance(1)


def pixels_of(picture: Image.Image) -> Tensor:
    """A picture in RGB as the autoencoder takes it, [3, H, W] in -1..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1


def _images(run: Run, prompt: str) -> ClassImages:
    sampler = run.config.prior.sampler
    return ClassImages.of(
        run.cache,
        run.folder.class_images,
        model=run.base.digest,
        precision=run.precision,
        prompt=prompt,
        sampler=sampler,
        size=run.resolution,
    )


def _generate(run: Run, phase: RunningPhase, images: ClassImages, prompt: str, missing: set[int]) -> int:
    """Generates this process's part of the missing images, and returns their number."""
    prior, generated = run.config.prior, 0
    for batch in _mine({index // prior.batch_size for index in missing}, run.distributed.rank, run.distributed.size):
        run.stop.check()
        indices = range(batch * prior.batch_size, (batch + 1) * prior.batch_size)
        wanted = [index for index in indices if index in missing]
        # Another run may have generated them in the meantime.
        new = 0 if all(map(images.has, wanted)) else len(wanted)
        if new:
            pictures = run.model.generate([prompt] * len(indices), indices, prior.sampler, run.resolution)
            for index in wanted:
                images.add(index, pictures.images[index - indices.start], pictures.latents_BCHW[index - indices.start])
        generated += new
        phase.advance(len(wanted), class_images_generated=new)
    return generated


def _mine(batches: Collection[int], rank: int, size: int) -> list[int]:
    """The batches of a process, from a random one on, so that runs that fill a folder together mostly generate
    different images."""
    mine = sorted(batch for batch in batches if batch % size == rank)
    start = random.Random(os.urandom(8)).randrange(len(mine)) if mine else 0
    return mine[start:] + mine[:start]
