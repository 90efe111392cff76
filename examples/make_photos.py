"""Composes the example photos, poses of three invented subjects on varied backgrounds, and writes them into the
manifests.

Run it (`python examples/make_photos.py`) when a drawing in `subjects/` changes. The photos are committed, so that users
don't need it. The subjects are our own drawings with marks that no emoji has, so that a model can only learn them from
these photos. The photos of a subject have different backgrounds, so that the identifier does not bind to a background.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import resvg_py
import typer
import yaml
from PIL import Image, ImageFilter

EXAMPLES = Path(__file__).parent
SIZE = 512
JPEG_QUALITY = 92
HEADER = "# The photos, so that this file is all that a cluster needs; written by make_photos.py.\n"
SEPARATOR = "---\n"

Colour = tuple[int, int, int]
Background = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Photo:
    """One photo: the pose's file stem in `subjects/`, its background, and its position.

    `width` and the centre (`x`, `y`) are fractions of the photo's side; `angle` is in degrees, counter-clockwise.
    """

    pose: str
    background: Background
    width: float = 0.78
    x: float = 0.5
    y: float = 0.52
    angle: float = 0.0


def plain(colour: Colour) -> Background:
    """An evenly coloured studio sheet."""
    return lambda rng: blend(colour, colour, rows())


def gradient(top: Colour, bottom: Colour) -> Background:
    """A studio sheet lit from above or below."""
    return lambda rng: blend(top, bottom, rows())


def spotlight(centre: Colour, edge: Colour) -> Background:
    """A sheet lit in the middle."""
    return lambda rng: blend(centre, edge, np.hypot(rows() - 0.5, rows().T - 0.5) / np.hypot(0.5, 0.5))


def landscape(sky: tuple[Colour, Colour], ground: tuple[Colour, Colour], horizon: float = 0.62) -> Background:
    """A sky with a few clouds above a gently rolling ground."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        y, x = rows(), rows().T
        view = blend(*sky, np.clip(y / horizon, 0, 1))
        for centre_x, centre_y, radius in rng.uniform((0.05, 0.05, 0.05), (0.95, 0.3, 0.1), (5, 3)):
            cloud = np.clip(1.5 - np.hypot((x - centre_x) / 2, y - centre_y) / radius, 0, 1)
            view = over(view, (255, 255, 255), 0.8 * cloud)
        hill = horizon + 0.025 * np.sin(x * rng.uniform(5, 9) + rng.uniform(0, 6))
        soil = blend(*ground, np.clip((y - horizon) / (1 - horizon), 0, 1))
        return np.where((y > hill)[..., None], soil, view)

    return draw


def room(wall: Colour, floor: Colour, skirting: Colour, horizon: float = 0.72) -> Background:
    """A striped wall, a skirting board and a floor of planks."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        y, x = rows(), rows().T
        stripes = np.broadcast_to(0.12 * (np.floor(x * 9) % 2), (SIZE, SIZE))
        view = over(blend(wall, wall, y), (255, 255, 255), stripes)
        planks = np.floor((y - horizon) / 0.07)
        shade = rng.uniform(0, 0.16, 16)[planks.clip(0, 15).astype(int)]
        boards = over(blend(floor, floor, y), (60, 30, 10), np.broadcast_to(shade, (SIZE, SIZE)))
        view = np.where((y > horizon)[..., None], boards, view)
        return np.where((abs(y - horizon) < 0.018)[..., None], np.array(skirting, float), view)

    return draw


def dotted(ground: Colour, dot: Colour) -> Background:
    """A sheet of dotted wrapping paper."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        y, x = rows() * 7, rows().T * 7 + rng.uniform()
        distance = np.hypot((x + 0.5 * (np.floor(y) % 2)) % 1 - 0.5, y % 1 - 0.5)
        return over(blend(ground, ground, rows()), dot, np.clip((0.2 - distance) * SIZE / 7, 0, 1))

    return draw


MEADOW = landscape(((110, 185, 250), (210, 235, 255)), ((130, 200, 85), (60, 140, 50)))
SNOW = landscape(((170, 190, 215), (220, 230, 240)), ((255, 255, 255), (222, 233, 248)))
DESERT = landscape(((255, 170, 90), (255, 228, 160)), ((228, 170, 92), (184, 120, 60)))

SUBJECTS: dict[str, tuple[Photo, ...]] = {
    "dog": (
        Photo("dog-standing", plain((250, 226, 150))),
        Photo("dog-sitting", MEADOW, 0.70, 0.55, 0.56),
        Photo("dog-running", gradient((255, 200, 180), (240, 140, 150)), 0.74, 0.48, 0.52, 6),
        Photo("dog-standing", room((150, 130, 200), (190, 130, 80), (250, 245, 235)), 0.72, 0.45, 0.57, -3),
        Photo("dog-sitting", dotted((225, 235, 240), (170, 190, 205)), 0.80, 0.51, 0.51, -7),
    ),
    "backpack": (
        Photo("backpack-front", plain((176, 214, 240))),
        Photo("backpack-turned", SNOW, 0.72, 0.54, 0.56),
        Photo("backpack-leaning", room((120, 170, 140), (150, 100, 65), (240, 235, 220)), 0.72, 0.47, 0.58, -5),
        Photo("backpack-front", spotlight((235, 215, 250), (130, 100, 170)), 0.68, 0.53, 0.50, 9),
        Photo("backpack-turned", dotted((250, 240, 225), (240, 180, 160)), 0.80, 0.50, 0.51, -6),
    ),
    "teapot": (
        Photo("teapot-side", plain((190, 230, 200))),
        Photo("teapot-turned", room((240, 200, 130), (120, 80, 60), (255, 250, 240)), 0.74, 0.48, 0.56),
        Photo("teapot-open", gradient((90, 120, 170), (170, 200, 225)), 0.76, 0.53, 0.53, 5),
        Photo("teapot-side", DESERT, 0.68, 0.46, 0.58, -6),
        Photo("teapot-turned", dotted((205, 205, 210), (245, 245, 250)), 0.80, 0.51, 0.50, 8),
    ),
}


def rows() -> np.ndarray:
    """The height of each row's middle as a fraction of the photo's side, shape (SIZE, 1)."""
    return (np.arange(SIZE)[:, None] + 0.5) / SIZE


def blend(first: Colour, second: Colour, share: np.ndarray) -> np.ndarray:
    """Mixes two colours, `share` (SIZE or 1, broadcast) of the second; returns (SIZE, SIZE, 3) floats in 0..255."""
    share = np.broadcast_to(share, (SIZE, SIZE))[..., None]
    return np.array(first) * (1 - share) + np.array(second) * share


def over(picture: np.ndarray, colour: Colour, opacity: np.ndarray) -> np.ndarray:
    """Blends a colour over a picture (SIZE, SIZE, 3) with an opacity (SIZE, SIZE) in 0..1."""
    return picture * (1 - opacity[..., None]) + np.array(colour) * opacity[..., None]


def cut_out(pose: str, width: int, angle: float) -> Image.Image:
    """Renders a pose with a transparent background, `width` pixels wide before it is rotated by `angle` degrees."""
    svg = (EXAMPLES / "subjects" / f"{pose}.svg").read_text()
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=width, height=width))
    return Image.open(BytesIO(png)).convert("RGBA").rotate(angle, Image.Resampling.BICUBIC, expand=True)


def compose(photo: Photo, rng: np.random.Generator) -> Image.Image:
    """Places the rotated pose on its background, with a soft shadow below and to the right of it."""
    figure = cut_out(photo.pose, round(photo.width * SIZE), photo.angle)
    corner = (round(photo.x * SIZE - figure.width / 2), round(photo.y * SIZE - figure.height / 2))
    layer = Image.new("RGBA", (SIZE, SIZE))
    layer.paste(figure, corner)
    opacity = np.roll(np.asarray(layer.getchannel("A").filter(ImageFilter.GaussianBlur(SIZE / 50))), (10, 5), (0, 1))
    lit = over(photo.background(rng), (20, 20, 30), opacity / 255 * 0.3)
    canvas = Image.fromarray(lit.round().astype(np.uint8)).convert("RGBA")
    return Image.alpha_composite(canvas, layer).convert("RGB")


def photos(subject: str) -> list[Image.Image]:
    """The photos of a subject of `SUBJECTS`, always the same: photo i generates its background with seed i."""
    return [compose(photo, np.random.default_rng(seed)) for seed, photo in enumerate(SUBJECTS[subject])]


def with_photos(manifest: str, name: str, photos: Mapping[str, bytes]) -> str:
    """A manifest with the photos in a ConfigMap at its beginning, which replaces the previous one.

    Objects are created in the order of the file, so the DreamBoothJob finds its photos at once.
    """
    _, _, job = manifest.rpartition(SEPARATOR)
    encoded = {file: base64.b64encode(content).decode() for file, content in photos.items()}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": encoded}
    return f"{HEADER}{yaml.safe_dump(config_map, sort_keys=False)}{SEPARATOR}{job}"


def main(
    folder: Annotated[
        Path,
        typer.Argument(help="Where <subject>/photos/01.jpg ... are written, next to <subject>/dreamboothjob.yaml."),
    ] = EXAMPLES,
) -> None:
    """Write the photos of every example subject, and into its manifest."""
    for subject in SUBJECTS:
        target = folder / subject / "photos"
        target.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(photos(subject), start=1):
            picture.save(target / f"{number:02}.jpg", quality=JPEG_QUALITY)
        written = {file.name: file.read_bytes() for file in sorted(target.iterdir())}
        manifest = folder / subject / "dreamboothjob.yaml"
        manifest.write_text(with_photos(manifest.read_text(), f"{subject}-photos", written))


if __name__ == "__main__":
    typer.run(main)
