"""Provides the class images: own ones, and others that the frozen base model generates, by default with ancestral sampling.

Own ones are encoded in the folder of the run, and used like generated ones from then on. A share of all is generated, and
later trained on, with the empty prompt. Each generated image has a fixed position in a fixed batch of images `k * B` to
`(k + 1) * B`, so that it is the same bit for bit after a restart, with any number of ranks, and in a longer run.
"""

import os
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dreambooth_api.failures import InvalidData, Problem
from dreambooth_api.progress import JsonModel
from dreambooth_api.prompts import fill
from dreambooth_trainer.data.buckets import Size, deal
from dreambooth_trainer.data.class_images import ClassImages, recorded
from dreambooth_trainer.data.own_class_images import FIELD, OwnImage, own_class_images
from dreambooth_trainer.data.pictures import Unusable
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.process.storage import digest_of
from dreambooth_trainer.run import Run


class ClassImageSet(JsonModel):
    """Class images of one prompt and one size."""

    prompt: str
    size: Size
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

    Each class has as many, whatever the number of its subjects. Their sizes are those of its photos, in the same proportions.

    Raises:
        InvalidData: an own class image can't be read any more.
    """
    total, sets = run.config.class_images, list(_sets(run))
    missing = [set(one.images.missing(one.count)) for one, _ in sets]
    there, generated = total - sum(map(len, missing)), 0
    with run.progress.phase("prior", total=total, unit="images", done=there) as phase:
        for (one, pictures), absent in zip(sets, missing, strict=True):
            if pictures:
                _encode(run, phase, one, pictures, absent)
        incomplete = [
            (one, absent) for (one, pictures), absent in zip(sets, missing, strict=True) if absent and not pictures
        ]
        with run.model.denoising({one.prompt for one, _ in incomplete}) if incomplete else nullcontext():
            for one, absent in incomplete:
                generated += _generate(run, phase, one, absent)
    return GeneratedClassImages(sets=[one for one, _ in sets], generated=generated)


def _sizes_of_photos(run: Run, class_: str) -> list[Size]:
    """The sizes of the photos of a class, or the only one that they have."""
    subjects = [one for one in run.config.all_subjects.values() if one.class_ == class_]
    if all(one.crop == "center" for one in subjects):
        return [(run.resolution, run.resolution)]
    folders = [run.folder.photos / one.called for one in subjects]
    return [_size_of(path) for folder in folders for path in sorted(folder.glob("*.png"))]


def _size_of(path: Path) -> Size:
    with Image.open(path) as picture:
        return picture.size


def _sets(run: Run) -> Iterator[tuple[ClassImageSet, Sequence[OwnImage]]]:
    """The class images: own ones, and generated ones with the prompt of each class and with the empty prompt, by their sizes.

    The images with the empty prompt are of no class: the first of them are those of a run of one class.
    """
    prior, all_own = run.config.prior, own_class_images(run.config)
    counts: Counter[tuple[str, Size, bool]] = Counter()
    own: dict[Size, list[OwnImage]] = {}
    for class_ in run.config.classes:
        prompt = fill(prior.prompt, identifier="", class_=class_)
        # The sizes of own ones, of the other ones with the prompt, and of those without.
        sizes = deal(_sizes_of_photos(run, class_), prior.images)
        for size in dict.fromkeys(sizes):
            # Own ones need a single class.
            own[size] = [picture for picture, its in zip(all_own, sizes, strict=False) if its == size]
            counts[prompt, size, True] += len(own[size])
            counts[prompt, size, False] += sizes[len(all_own) : prior.conditional_images].count(size)
            counts["", size, False] += sizes[prior.conditional_images :].count(size)
    for (prompt, size, are_own), count in counts.items():
        if count:
            pictures = own[size] if are_own else ()
            images = _encoded(run, size, pictures) if are_own else _images(run, prompt, size)
            yield _set_of(prompt, size, images, count), pictures


def _set_of(prompt: str, size: Size, images: ClassImages, count: int) -> ClassImageSet:
    shared = str(images.shared) if images.shared else None
    return ClassImageSet(prompt=prompt, size=size, folder=str(images.folder), shared=shared, count=count)


def _encoded(run: Run, size: Size, own: Sequence[OwnImage]) -> ClassImages:
    """Place of own class images in the folder of the run. They belong to its user: others can read the cache."""
    content = {"model": run.base.digest, "size": recorded(size), "pictures": [image.digest for image in own]}
    return ClassImages(run.folder.class_images / f"own-{digest_of(content)[:24]}")


@torch.no_grad()
def _encode(
    run: Run, phase: RunningPhase, one: ClassImageSet, own: Sequence[OwnImage], missing: Collection[int]
) -> None:
    """Encodes this process's part of the own class images, one by one, so that it does not depend on the others."""
    for index in sorted(missing):
        if index % run.distributed.size == run.distributed.rank:
            run.stop.check()
            try:
                picture = own[index].cut(one.size)
            except Unusable as reason:
                raise InvalidData([Problem(FIELD, str(own[index].path), *reason.args)]) from reason
            one.images.add(index, picture, run.model.encode_images(pixels_of(picture)[None]).mean_BCHW[0])
            phase.advance(1)


def pixels_of(picture: Image.Image) -> Tensor:
    """A picture in RGB as the autoencoder takes it, [3, H, W] in -1..1."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1


def _images(run: Run, prompt: str, size: Size) -> ClassImages:
    sampler = run.config.prior.sampler
    return ClassImages.of(
        run.cache,
        run.folder.class_images,
        model=run.base.digest,
        precision=run.precision,
        prompt=prompt,
        sampler=sampler,
        size=size,
    )


def _generate(run: Run, phase: RunningPhase, one: ClassImageSet, missing: set[int]) -> int:
    """Generates this process's part of the missing images, and returns their number."""
    prior, images, generated = run.config.prior, one.images, 0
    for batch in _mine({index // prior.batch_size for index in missing}, run.distributed.rank, run.distributed.size):
        run.stop.check()
        indices = range(batch * prior.batch_size, (batch + 1) * prior.batch_size)
        wanted = [index for index in indices if index in missing]
        # Another run may have generated them in the meantime.
        new = 0 if all(map(images.has, wanted)) else len(wanted)
        if new:
            pictures = run.model.generate([one.prompt] * len(indices), indices, prior.sampler, one.size)
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
