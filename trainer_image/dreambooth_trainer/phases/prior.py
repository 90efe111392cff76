"""Generates the class images with the frozen base model, by default with ancestral sampling.

A share of them is generated, and later trained on, with the empty prompt. Each image has a fixed position in a fixed
batch of images `k * B` to `(k + 1) * B`, so that it is the same bit for bit after a restart, with any number of ranks,
and in a longer run.
"""

import os
import random
from collections.abc import Collection
from pathlib import Path

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.data.class_images import ClassImages
from dreambooth_trainer.monitoring.progress import RunningPhase
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
    """Images that this process generated; the others were in the cache."""


def generate_class_images(run: Run) -> GeneratedClassImages:
    """Generates the images that are missing in the class-image cache."""
    prior, generated = run.config.prior, 0
    counts = {run.fill(prior.prompt): prior.images - prior.unconditional_images, "": prior.unconditional_images}
    sets = [(prompt, _images(run, prompt), count) for prompt, count in counts.items() if count]
    missing = {prompt: images.missing(count) for prompt, images, count in sets}
    there = prior.images - sum(map(len, missing.values()))
    with run.progress.phase("prior", total=prior.images, unit="images", done=there) as phase:
        for prompt, images, _ in sets:
            generated += _generate(run, phase, images, prompt, set(missing[prompt]))
    return GeneratedClassImages(
        sets=[
            ClassImageSet(
                prompt=prompt,
                folder=str(images.folder),
                shared=str(images.shared) if images.shared else None,
                count=count,
            )
            for prompt, images, count in sets
        ],
        generated=generated,
    )


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
