"""Draws the class images from the frozen base model, by ancestral sampling unless the manifest says otherwise.

Every image is drawn in its own place of its own batch, images `k * B` to `(k + 1) * B`, so that it is the same to the bit after a
restart, with any number of ranks and for a longer run.
"""

import os
import random

from dreambooth_trainer.class_images import ClassImages
from dreambooth_trainer.run import Run
from dreambooth_trainer.snapshot import Report


class ClassImagesDrawn(Report):
    """Result of the phase."""

    folder: str
    """Folder of the images in the shared cache."""
    count: int
    """Images that the training uses."""
    drawn: int
    """Images that this process drew; the others were there."""


def run(run: Run) -> ClassImagesDrawn:
    """Draws what is missing in the cache."""
    prior, size = run.config.prior, run.resolution
    prompt = run.fill(prior.prompt)
    images = ClassImages.of(run.cache, model=run.model.digest, prompt=prompt, sampler=prior.sampler, size=size)
    missing = images.missing(prior.images)
    batches = sorted({index // prior.batch_size for index in missing})
    drawn = 0
    with run.progress.phase("prior", total=prior.images, unit="images", done=prior.images - len(missing)) as phase:
        for batch in _mine(batches, run.world.rank, run.world.size):
            run.stop.check()
            indices = range(batch * prior.batch_size, (batch + 1) * prior.batch_size)
            wanted = [index for index in indices if index < prior.images and not images.has(index)]
            if wanted:
                pictures = run.model.draw([prompt] * len(indices), indices, prior.sampler, size)
                for index in wanted:
                    row = index - indices.start
                    images.add(index, pictures.images[row], pictures.latents_BCHW[row])
                drawn += len(wanted)
            phase.advance(sum(index in missing for index in indices))
    return ClassImagesDrawn(folder=str(images.folder), count=prior.images, drawn=drawn)


def _mine(batches: list[int], rank: int, size: int) -> list[int]:
    """Every size-th batch, from a random one on: jobs that fill the same folder at the same time mostly draw other batches."""
    mine = batches[rank::size]
    if not mine:
        return []
    start = random.Random(os.urandom(8)).randrange(len(mine))
    return mine[start:] + mine[:start]
