"""Aspect-ratio buckets: the sizes of training pictures that are not cut to squares.

The pictures of a bucket have one size, so that they can be computed together (NovelAI, "Improvements on Stable Diffusion",
2022; SDXL, arXiv:2307.01952, section 2.3 and appendix I). A photo loses only what its shape differs from its bucket's.
"""

from collections.abc import Iterator, Sequence

Size = tuple[int, int]
"""Width and height in pixels."""

LONGEST = 2
"""Longer side of a bucket relative to the shorter one, at most."""

STEPS = 16
"""Steps of the sides of buckets in a side of the square. SDXL has steps of 64 pixels at 1024."""

USUAL_MULTIPLE = 8
"""Multiple of the sides where the base model, which defines it, is not loaded: that of Stable Diffusion."""


def bucket_of(photo: Size, resolution: int, multiple: int) -> Size:
    """The bucket that keeps most of a photo, the largest one of several.

    Args:
        photo: size of the photo.
        resolution: side of the square whose area no bucket exceeds.
        multiple: sides are multiples of it.
    """
    return max(_buckets(resolution, multiple), key=lambda bucket: (kept(photo, bucket), bucket[0] * bucket[1]))


def kept(photo: Size, bucket: Size) -> float:
    """The share of a photo that remains if it is cut to the shape of a bucket."""
    across, along = photo[0] * bucket[1], photo[1] * bucket[0]
    return min(across, along) / max(across, along)


def deal(photos: Sequence[Size], count: int) -> list[Size]:
    """The sizes of class images: as often as among the photos, and each one early.

    A longer list begins with the shorter one.

    Args:
        photos: sizes of the photos.
        count: number of class images.
    """
    # The first photo of each size, then the second one, and so on.
    turns = sorted(range(len(photos)), key=lambda number: photos[:number].count(photos[number]))
    return [photos[turns[number % len(turns)]] for number in range(count)]


def _buckets(resolution: int, multiple: int) -> Iterator[Size]:
    yield resolution, resolution
    step = -(-resolution // (STEPS * multiple)) * multiple
    for short in range(step, resolution, step):
        long = min(resolution**2 // short, LONGEST * short) // step * step
        yield short, long
        yield long, short
