"""Draws the class images from the frozen base model, by ancestral sampling unless the manifest says otherwise.

A share of them is drawn, and later learned, with the empty prompt. Every image is drawn in its own place of its own batch,
images `k * B` to `(k + 1) * B`, so that it is the same to the bit after a restart, with any number of ranks and for a longer
run.
"""

import os
import random
from collections.abc import Collection
from pathlib import Path

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.data.class_images import ClassImages
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.run import Run


class DrawnSet(JsonModel):
    """Class images of one prompt."""

    prompt: str
    folder: str
    """Folder of the images: in the shared cache, or of the run where that can only be read."""
    shared: str | None = None
    """Folder in the shared cache that can only be read."""
    count: int
    """Images that the training uses."""

    @property
    def images(self) -> ClassImages:
        """The images."""
        return ClassImages(Path(self.folder), Path(self.shared) if self.shared else None)


class ClassImagesDrawn(JsonModel):
    """Result of the phase."""

    sets: list[DrawnSet]
    drawn: int
    """Images that this process drew; the others were there."""


def generate_class_images(run: Run) -> ClassImagesDrawn:
    """Draws what is missing in the cache."""
    prior, drawn = run.config.prior, 0
    counts = {run.fill(prior.prompt): prior.images - prior.unconditional_images, "": prior.unconditional_images}
    sets = [(prompt, _images(run, prompt), count) for prompt, count in counts.items() if count]
    missing = {prompt: images.missing(count) for prompt, images, count in sets}
    there = prior.images - sum(map(len, missing.values()))
    with run.progress.phase("prior", total=prior.images, unit="images", done=there) as phase:
        for prompt, images, _ in sets:
            drawn += _draw(run, phase, images, prompt, set(missing[prompt]))
    return ClassImagesDrawn(
        sets=[
            DrawnSet(
                prompt=prompt,
                folder=str(images.folder),
                shared=str(images.shared) if images.shared else None,
                count=count,
            )
            for prompt, images, count in sets
        ],
        drawn=drawn,
    )


def _images(run: Run, prompt: str) -> ClassImages:
    sampler = run.config.prior.sampler
    return ClassImages.of(
        run.cache,
        run.folder.class_images,
        model=run.base.digest,
        prompt=prompt,
        sampler=sampler,
        size=run.resolution,
    )


def _draw(run: Run, phase: RunningPhase, images: ClassImages, prompt: str, missing: set[int]) -> int:
    """Draws this process's part of the missing images and tells how many those were."""
    prior, drawn = run.config.prior, 0
    for batch in _mine({index // prior.batch_size for index in missing}, run.distributed.rank, run.distributed.size):
        run.stop.check()
        indices = range(batch * prior.batch_size, (batch + 1) * prior.batch_size)
        wanted = [index for index in indices if index in missing]
        # Another job may have drawn them meanwhile.
        new = 0 if all(map(images.has, wanted)) else len(wanted)
        if new:
            pictures = run.model.draw([prompt] * len(indices), indices, prior.sampler, run.resolution)
            for index in wanted:
                images.add(index, pictures.images[index - indices.start], pictures.latents_BCHW[index - indices.start])
        drawn += new
        phase.advance(len(wanted), class_images_generated=new)
    return drawn


def _mine(batches: Collection[int], rank: int, size: int) -> list[int]:
    """The batches of a process, in an order that begins anywhere: jobs that fill a folder together mostly draw others."""
    mine = sorted(batch for batch in batches if batch % size == rank)
    start = random.Random(os.urandom(8)).randrange(len(mine)) if mine else 0
    return mine[start:] + mine[:start]
