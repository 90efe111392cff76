"""Previews of photos, with the part of each that a training uses."""

from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw

from dreambooth_trainer.data.buckets import USUAL_MULTIPLE, Size, bucket_of
from dreambooth_trainer.data.pictures import Unusable, open_upright

Crop = Literal["center", "none"]
"""As `subject.crop`."""

LONGEST = 480
"""Longer side of a preview in pixels."""
SIDE = 512
"""Side of training pictures whose shape is asked for; the shape hardly depends on it."""
DIMMED, FRAME = 0.7, "#f97316"
"""How much of the brightness is taken from what a training does not use, and the colour around what it uses."""


def box_of(photo: Size, crop: Crop) -> tuple[int, int, int, int]:
    """The part of a photo that a training uses: left, upper, right and lower edge in pixels.

    Args:
        photo: size of the photo.
        crop: whether only the middle square is used, or the middle in the shape of a bucket.
    """
    shape = (SIDE, SIDE) if crop == "center" else bucket_of(photo, SIDE, USUAL_MULTIPLE)
    scale = min(photo[0] / shape[0], photo[1] / shape[1])
    width, height = round(shape[0] * scale), round(shape[1] * scale)
    left, top = (photo[0] - width) // 2, (photo[1] - height) // 2
    return left, top, left + width, top + height


def preview(photo: Image.Image, crop: Crop) -> Image.Image:
    """A small copy of an upright photo; what the training does not use is dark."""
    small = photo.copy()
    small.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    box = box_of(small.size, crop)
    shown = Image.blend(small, Image.new("RGB", small.size), DIMMED)
    shown.paste(small.crop(box), box[:2])
    left, top, right, bottom = box
    ImageDraw.Draw(shown).rectangle((left, top, right - 1, bottom - 1), outline=FRAME, width=3)
    return shown


def previews(photos: list[Path], crop: Crop) -> list[tuple[Image.Image, str]]:
    """A preview of each photo that can be read, with its name and its size."""
    shown = []
    for path in photos:
        try:
            photo = open_upright(path)
        except Unusable:
            # The check of the photos says why.
            continue
        shown.append((preview(photo, crop), f"{path.name}: {photo.width}x{photo.height}"))
    return shown
