"""Pictures with details, as photos have them."""

import random

from PIL import Image, ImageDraw


def scene(seed: int, size: tuple[int, int] = (512, 512)) -> Image.Image:
    """Overlapping shapes in random places and colours."""
    chance = random.Random(seed)
    image = Image.new("RGB", size, colour(chance))
    draw = ImageDraw.Draw(image)
    for _ in range(80):
        left, top = chance.uniform(-0.2, 1) * size[0], chance.uniform(-0.2, 1) * size[1]
        box = left, top, left + chance.uniform(0.02, 0.4) * size[0], top + chance.uniform(0.02, 0.4) * size[1]
        chance.choice([draw.rectangle, draw.ellipse])(box, fill=colour(chance))
    return image


def colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)
