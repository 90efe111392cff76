"""Masks of photos, which say where the subject is: transparent parts of a photo, or a picture next to it. Called by
`photos.py`; needs only Pillow."""

from pathlib import Path

from PIL import Image, ImageOps, ImageStat

from dreambooth_trainer.data.buckets import Size
from dreambooth_trainer.data.pictures import Unusable, open_alpha, open_upright

SMALLEST_COVER = 0.01
"""Share of the training picture that a subject must cover: the loss of a photo would depend on a few latents."""

DISTORTION = 0.02
"""Relative difference of two ratios of sides that rounding to whole pixels can explain."""


def read_mask(photo: Path, upright: Size, file: Path | None, size: Size) -> Image.Image | None:
    """The mask of a training picture, in grey: white where the subject is; None for a photo without one.

    Args:
        photo: the photo, whose transparent parts count if there is no file.
        upright: size of the upright photo.
        file: the picture of the mask. If it is transparent somewhere, its opacity counts, and else its brightness.
        size: size of the training picture.

    Raises:
        Unusable: the mask does not fit the photo, or leaves nothing of it.
    """
    try:
        mask = open_alpha(file or photo) or (open_upright(file).convert("L") if file else None)
    except Unusable as reason:
        message, remedy = reason.args
        raise Unusable(f"has a mask that {message}", remedy) from reason
    if mask is None:
        return None
    if abs(mask.width * upright[1] / (mask.height * upright[0]) - 1) > DISTORTION:
        message = f"is {upright[0]}x{upright[1]}, but its mask {mask.width}x{mask.height}"
        raise Unusable(message, "Save the mask in the size of the photo")
    seen = ImageOps.fit(mask, size, Image.Resampling.BOX)
    if ImageStat.Stat(seen).mean[0] < 255 * SMALLEST_COVER:
        message = "has a mask in which the subject is less than 1 % of the part of the photo that is used"
        raise Unusable(message, "Make the mask white, or opaque, where the subject is, and crop the photo around it")
    return seen
