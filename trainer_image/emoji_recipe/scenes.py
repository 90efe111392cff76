"""Procedural scenes behind the drawings: beach, grass, snow, night, water and desert.

`compose` paints several views of each scene once, and selects from them. All lengths are fractions of the picture's
side.
"""

from dataclasses import dataclass

import numpy as np

from emoji_recipe.vocabulary import SIDE

Colour = tuple[int, int, int]
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Dots:
    """Scattered discs: how many, of what colour and radius, and how far down from the top they may lie."""

    count: int
    colour: Colour
    radius: tuple[float, float]
    lowest: float = 1.0


@dataclass(frozen=True)
class Scene:
    """A sky and a ground, each a vertical gradient, with a wavy line between them `depth` below the horizon.

    Dots are behind the ground or in front of everything. A sea, if there is one, is in front of the sky.
    """

    sky: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]
    dots_behind: tuple[Dots, ...] = ()
    dots_before: tuple[Dots, ...] = ()
    sea: tuple[Colour, Colour] | None = None
    depth: float = 0.0


SCENES = {
    "beach": Scene(
        ((120, 200, 250), (215, 240, 255)), ((250, 225, 160), (225, 190, 120)), sea=((20, 120, 200), (70, 190, 220))
    ),
    "grass": Scene(
        ((110, 185, 250), (210, 235, 255)),
        ((120, 200, 80), (60, 140, 50)),
        dots_behind=(Dots(3, WHITE, (0.05, 0.1), 0.3),),
    ),
    "snow": Scene(
        ((170, 190, 215), (215, 225, 238)), (WHITE, (225, 235, 248)), dots_before=(Dots(26, WHITE, (0.008, 0.02)),)
    ),
    "night": Scene(
        ((8, 10, 45), (45, 40, 100)),
        ((20, 35, 45), (10, 18, 28)),
        dots_behind=(Dots(24, (255, 250, 210), (0.006, 0.014), 0.6), Dots(1, (250, 240, 180), (0.07, 0.1), 0.25)),
    ),
    "water": Scene(
        ((60, 180, 220), (10, 50, 130)),
        ((200, 185, 130), (150, 135, 95)),
        dots_behind=(Dots(12, (190, 235, 250), (0.01, 0.035)),),
        depth=0.25,
    ),
    "desert": Scene(
        ((255, 150, 70), (255, 225, 150)),
        ((225, 165, 85), (180, 115, 55)),
        dots_behind=(Dots(1, (255, 245, 190), (0.07, 0.12), 0.35),),
    ),
}
SEA_HEIGHT = 0.14


def paint(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """One random view of a scene, uint8 (SIDE, SIDE, 3)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    horizon = rng.uniform(0.5, 0.68)
    wave = np.sin(x * rng.uniform(4, 9) + rng.uniform(0, 6)) * rng.uniform(0.3, 1.6)
    shore = horizon + scene.depth + 0.03 * wave
    view = _scatter(_gradient(scene.sky, y / (horizon + scene.depth)), scene.dots_behind, rng)
    if scene.sea:
        surface = horizon - SEA_HEIGHT
        view = np.where((y > surface)[..., None], _gradient(scene.sea, (y - surface) / SEA_HEIGHT), view)
    soil = _gradient(scene.ground, (y - horizon) / (1 - horizon))
    view = _scatter(np.where((y > shore)[..., None], soil, view), scene.dots_before, rng)
    return view.clip(0, 255).astype(np.uint8)


def _gradient(colours: tuple[Colour, Colour], share_HW: np.ndarray) -> np.ndarray:
    top, bottom = (np.array(colour, float) for colour in colours)
    return top + (bottom - top) * share_HW[..., None]


def _scatter(view_HWC: np.ndarray, groups: tuple[Dots, ...], rng: np.random.Generator) -> np.ndarray:
    """Paints discs with anti-aliased edges over a view."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    for dots in groups:
        for _ in range(dots.count):
            centre_x, centre_y, radius = rng.uniform(0, 1), rng.uniform(0, dots.lowest), rng.uniform(*dots.radius)
            cover = np.clip((radius - np.hypot(x - centre_x, y - centre_y)) * SIDE, 0, 1)[..., None]
            view_HWC = view_HWC * (1 - cover) + np.array(dots.colour) * cover
    return view_HWC
