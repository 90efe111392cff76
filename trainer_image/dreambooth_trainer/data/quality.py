"""Finds photos that can be used, but from which a model learns badly. Called by `photos.py`; needs only Pillow.

Every measure is of the part of a photo that the training sees. The thresholds leave room for false negatives: a
warning about a good photo is worse than none about a bad one.
"""

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import mean, median, pvariance
from typing import NamedTuple

from PIL import Image, ImageFilter, ImageOps, ImageStat

from dreambooth_trainer.data.buckets import LONGEST, Size, kept

SMALLEST_CROP = 1 / 2
"""Least share of a photo that should be used. The middle squares of 4:3 and of 16:9 are .75 and .56 of it."""

JUDGED = 512
"""Side in pixels at which photos are judged; smaller ones in their own size."""

LAPLACIAN = ImageFilter.Kernel((3, 3), [0, 1, 0, 1, -4, 1, 0, 1, 0], scale=1, offset=128)

LEAST_SHARPNESS = 0.005
"""Photos with a lower sharpness are blurred. If details have the usual spectrum of photos, 1/f^2, sharpness is about
1 / (11 s^4) for a Gaussian blur of s pixels, so that this is a blur of about 2 pixels. 31 sharp photos and drawings had
.034 and more; 27 of 30 fell below the threshold when they were blurred by 3 pixels."""

LEAST_VARIANCE = 16
"""Variance of grey values, 0 to 255, below which a picture has no details that could be sharp."""

NEAR = 5
"""Bits in which the hashes of almost equal photos may differ, of 64. 28 of 31 photos that were moved by 2 % and
made 5 % brighter differ in at most 5 bits; different photos of one subject in at least 8."""

GRID = 16
"""Cells along a side, whose mean colours describe a picture."""

BORDER = 2
"""Cells from the edge that count as background: subjects are usually in the middle."""

SAME_BACKGROUND = 20
"""Deviation among photos, 0 to 255, of the median cell of the border. The examples and unrelated photos have
at least 39; three subjects before one background have at most 10, with exposures that differ by 12 % and a camera that
was moved by 3 %."""

ENOUGH = 3
"""Photos that can have a background in common by more than accident."""


class Appearance(NamedTuple):
    """A photo as it compares with the other ones."""

    name: str
    hash: int
    """64 bits, each whether a cell is darker than its right neighbour (dHash: Krawetz, "Kind of Like That", 2013). The
    library ImageHash needs SciPy and PyWavelets, which the command line does not have."""
    border: list[tuple[int, ...]]
    """Mean colours of the cells at the border."""


def cut(image: Image.Image, size: Size) -> Image.Image:
    """The middle of a picture in the shape of a size, scaled to it."""
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def enlarged(image: Size, size: Size) -> float:
    """How many times larger a picture becomes when its middle is scaled to a size."""
    return max(size[0] / image[0], size[1] / image[1])


def judged(image: Image.Image, size: Size) -> Image.Image:
    """The middle of a photo in the shape of its training picture, in the size in which photos are judged."""
    scale = min(1 / enlarged(image.size, size), JUDGED / sqrt(size[0] * size[1]))
    return cut(image, (round(size[0] * scale), round(size[1] * scale)))


def appearance(name: str, middle: Image.Image) -> Appearance:
    """How a photo compares with other ones.

    Args:
        name: name of its file.
        middle: its `judged` part.
    """
    grey = middle.convert("L").resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = (grey[cell] < grey[cell + 1] for cell in range(len(grey)) if cell % 9 < 8)
    cells, edge = middle.resize((GRID, GRID), Image.Resampling.BOX).tobytes(), (*range(BORDER), *range(-BORDER, 0))
    outer = {place % GRID for place in edge}
    border = [
        tuple(cells[3 * (row * GRID + column) :][:3])
        for row in range(GRID)
        for column in range(GRID)
        if row in outer or column in outer
    ]
    return Appearance(name, sum(bit << place for place, bit in enumerate(bits)), border)


def sharpness(image: Image.Image) -> float | None:
    """The variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000) relative
    to that of the picture, so that contrast doesn't count; None for a picture without contrast."""
    grey = image.convert("L")
    variance = ImageStat.Stat(grey).var[0]
    # Pillow copies the pixels at the border instead of filtering them.
    inner = grey.filter(LAPLACIAN).crop((1, 1, grey.width - 1, grey.height - 1))
    return None if variance < LEAST_VARIANCE else float(ImageStat.Stat(inner).var[0] / variance)


def flaws(name: str, photo: Size, middle: Image.Image, size: Size, *, final: bool) -> Iterator[str]:
    """Warnings about one photo.

    Args:
        name: name of its file.
        photo: its size.
        middle: its `judged` part.
        size: size of its training picture.
        final: whether that is known, and not only its shape.
    """
    pixels, share = f"{name} is {photo[0]}x{photo[1]}", kept(photo, size)
    if share < SMALLEST_CROP and size[0] == size[1]:
        yield (
            f"{pixels}, and its middle square, which is used, is only {share:.0%} of it. Crop it around the subject, or "
            "set subject.crop to none"
        )
    elif share < SMALLEST_CROP:
        yield (
            f"{pixels}, and only {share:.0%} of it is used: training pictures are at most {LONGEST} times as long as "
            "wide. Crop it around the subject"
        )
    if final and enlarged(photo, size) > 1:
        yield f"{pixels} and is enlarged to {size[0]}x{size[1]}"
    seen = cut(middle, size) if final and enlarged(middle.size, size) < 1 else middle
    if (found := sharpness(seen)) is not None and found < LEAST_SHARPNESS:
        yield f"{name} looks blurred, and the model would learn that. Give a sharp photo instead"


def near_duplicates(photos: Sequence[Appearance]) -> Iterator[str]:
    """A warning for each photo that is almost the same as an earlier one."""
    for number, photo in enumerate(photos):
        # Plain pictures have no bits, whatever their colour.
        similar = (one.name for one in photos[:number] if one.hash and (one.hash ^ photo.hash).bit_count() <= NEAR)
        if name := next(similar, None):
            yield f"{photo.name} shows almost the same as {name}; give a photo from another side or distance instead"


def same_background(photos: Sequence[Appearance]) -> Iterator[str]:
    """A warning if all photos have the same background."""
    if len(photos) >= ENOUGH and _deviation([photo.border for photo in photos]) < SAME_BACKGROUND:
        yield (
            "all photos have the same background, which the model would learn as a part of the subject. Take some of them "
            "in other places, or mask it (subject.mask)"
        )


def _deviation(borders: Sequence[list[tuple[int, ...]]]) -> float:
    """The deviation of colours among pictures, of the median cell."""
    of_cells = [
        sqrt(mean(pvariance(values) for values in zip(*colours, strict=True))) for colours in zip(*borders, strict=True)
    ]
    return median(of_cells)
