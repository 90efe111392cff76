"""Masks of photos, which say where the subject is: transparent parts of a photo, or a picture next to it. Called by
`photos.py`; needs only Pillow."""

from pathlib import Path

from PIL import Image, ImageOps, ImageStat

from dreambooth_trainer.data.pictures import Unusable, open_alpha, open_upright

SMALLEST_COVER = 0.01
"""Share of the middle square that a subject must cover: the loss of a photo would depend on a few latents."""

DISTORTION = 0.02
"""Relative difference of two ratios of sides that rounding to whole pixels can explain."""


def read_mask(photo: Path, size: tuple[int, int], file: Path | None) -> Image.Image | None:
    """The mask of a photo, in grey: white where the subject is; None for a photo without one.

    Args:
        photo: the photo, whose transparent parts count if there is no file.
        size: width and height of the upright photo in pixels.
        file: the picture of the mask. If it is transparent somewhere, its opacity counts, and else its brightness.

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
    if abs(mask.width * size[1] / (mask.height * size[0]) - 1) > DISTORTION:
        message = f"is {size[0]}x{size[1]}, but its mask {mask.width}x{mask.height}"
        raise Unusable(message, "Save the mask in the size of the photo")
    if ImageStat.Stat(mask_square(mask, min(mask.size))).mean[0] < 255 * SMALLEST_COVER:
        message = "has a mask in which the subject is less than 1 % of the middle square, which is used"
        raise Unusable(message, "Make the mask white, or opaque, where the subject is, and crop the photo around it")
    return mask


def mask_square(mask: Image.Image, side: int) -> Image.Image:
    """The middle square of a mask, averaged over areas, at a side in pixels."""
    return ImageOps.fit(mask, (side, side), Image.Resampling.BOX)
