"""Pictures match their layouts."""

import math

import numpy as np
import pytest
import torch

from emoji_recipe.captions import NONE
from emoji_recipe.colour import dominant_hue, hsv_to_rgb, rgb_to_hsv
from emoji_recipe.compose import Composer, place
from emoji_recipe.drawings import About, Drawings
from emoji_recipe.scenes import SCENES as VIEWS
from emoji_recipe.scenes import paint
from emoji_recipe.vocabulary import COLOURS, HUES, SCENES, SIDE

CORNERS = torch.tensor([[0, 0], [0, SIDE - 1], [SIDE - 1, 0], [SIDE - 1, SIDE - 1]])


@pytest.fixture
def composer() -> Composer:
    """Two icons: a red disc and a green one."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2
    disc = (np.hypot(x, y) < SIDE / 3)[..., None]
    rgba = [np.where(disc, np.array(colour), 0) for colour in ((220, 30, 30, 255), (30, 200, 30, 255))]
    about = [About("disc", "ball", "noto"), About("coin", None, "noto")]
    return Composer(Drawings(np.stack(rgba).astype(np.uint8), about), torch.device("cpu"), seed=0)


def layouts(
    drawing: int = 0, background: int = 0, scene: int = NONE, hue: int = NONE, companion: int = NONE
) -> torch.Tensor:
    return torch.tensor([[drawing, background, scene, hue, companion]] * 16)


def test_pictures_are_in_range_and_differ(composer: Composer) -> None:
    pictures = composer(layouts(scene=0, hue=2, companion=1))
    assert pictures.shape == (16, 3, SIDE, SIDE)
    assert pictures.min() >= -1 and pictures.max() <= 1.0001
    assert not torch.equal(pictures[0], pictures[1])


def test_same_seed_gives_same_pictures(composer: Composer) -> None:
    drawings = Drawings(np.full((1, SIDE, SIDE, 4), 200, np.uint8), [About("block", None, "noto")])
    first, second = (Composer(drawings, torch.device("cpu"), seed=3)(layouts()) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", COLOURS)
def test_background_has_the_named_colour(composer: Composer, name: str) -> None:
    pictures = composer(layouts(background=list(COLOURS).index(name)))
    corners = (pictures[..., CORNERS[:, 0], CORNERS[:, 1]] + 1) * 127.5
    expected = torch.tensor(COLOURS[name]).float()[None, :, None].expand_as(corners)
    torch.testing.assert_close(corners, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("name", HUES)
def test_picture_takes_the_named_hue(composer: Composer, name: str) -> None:
    pictures = (composer(layouts(hue=list(HUES).index(name))) + 1) / 2
    middle = pictures[..., SIDE // 2, SIDE // 2][..., None, None]
    turns = rgb_to_hsv(middle)[:, 0].squeeze() - HUES[name] / 360
    assert ((turns + 0.5) % 1 - 0.5).abs().max() < 0.02


def test_companion_is_next_to_the_picture(composer: Composer) -> None:
    red, green, _ = ((composer(layouts(companion=1)) + 1) / 2).unbind(1)
    columns = torch.linspace(-1, 1, SIDE)

    def centre(weight: torch.Tensor) -> torch.Tensor:
        return (weight * columns).sum((1, 2)) / weight.sum((1, 2))

    gap = centre(((red - green) > 0.3).float()) - centre(((green - red) > 0.3).float())
    assert gap.abs().min() > 0.6
    assert (gap > 0).any() and (gap < 0).any()


def test_place_moves_scales_and_mirrors() -> None:
    half = torch.zeros(1, 4, SIDE, SIDE)
    half[..., : SIDE // 2] = 1
    still = torch.zeros(1)
    plain = place(half, still.bool(), still, still + 1, still, still)
    torch.testing.assert_close(plain, half)
    mirrored = place(half, ~still.bool(), still, still + 1, still, still)
    torch.testing.assert_close(mirrored, half.flip(-1))
    smaller = place(torch.ones(1, 4, SIDE, SIDE), still.bool(), still, still + 0.5, still + 0.5, still + 0.5)
    assert smaller[0, 3, SIDE // 2 + 2 :, SIDE // 2 + 2 :].min() == 1
    assert smaller.sum() == pytest.approx(SIDE * SIDE, rel=0.02)


def test_place_premultiplies_so_that_hidden_colours_do_not_show() -> None:
    hidden = torch.ones(1, 4, SIDE, SIDE)
    hidden[:, 3] = 0
    still = torch.zeros(1)
    assert place(hidden, still.bool(), still + 0.1, still + 0.7, still, still).abs().max() == 0


def test_hsv_round_trip() -> None:
    rgb = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hsv_to_rgb(rgb_to_hsv(rgb)), rgb, atol=1e-5, rtol=0)


def test_dominant_hue_is_a_circular_mean() -> None:
    hues = torch.tensor([350.0, 10.0]) / 360
    hsv = torch.stack([hues, torch.ones(2), torch.ones(2)]).reshape(1, 3, 1, 2)
    hue, saturation = dominant_hue(torch.cat([hsv_to_rgb(hsv), torch.ones(1, 1, 1, 2)], 1))
    assert math.isclose(hue.item(), 0, abs_tol=1e-3)
    assert saturation.item() == pytest.approx(1)


def test_every_scene_of_the_vocabulary_can_be_painted() -> None:
    assert list(VIEWS) == list(SCENES)
    for scene in VIEWS.values():
        view = paint(scene, np.random.default_rng(0))
        assert view.shape == (SIDE, SIDE, 3) and view.dtype == np.uint8
        assert np.abs(view[0].astype(float) - view[-1]).mean() > 10
