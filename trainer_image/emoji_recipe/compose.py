"""Layouts to pictures, on the training device: hue shift, placement, companion and background, all batched.

Every training calls a `Composer` in each step, so that no two pictures are the same and none is stored.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emoji_recipe import scenes
from emoji_recipe.captions import NONE
from emoji_recipe.colour import dominant_hue, hsv_to_rgb, rgb_to_hsv
from emoji_recipe.drawings import Drawings
from emoji_recipe.vocabulary import COLOURS, HUES, SCENES

VIEWS_OF_SCENE = 96
HUE_JITTER = 0.015
P_SCENE_ELSEWHERE = 0.4


class Composer:
    """Makes the pictures of layouts. Parts that a layout does not define are random, from a generator of its own."""

    def __init__(self, drawings: Drawings, device: torch.device, seed: int) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)
        self._rgba_N4HW = torch.from_numpy(drawings.rgba_NHWC).to(device).permute(0, 3, 1, 2)
        hues = [dominant_hue(chunk.float() / 255) for chunk in self._rgba_N4HW.split(512)]
        self._hue_N, self.saturation_N = (torch.cat(parts) for parts in zip(*hues, strict=True))
        self._colours = torch.tensor(list(COLOURS.values()), device=device) / 255
        self._target_hues = torch.tensor(list(HUES.values()), device=device) / 360
        rng = np.random.default_rng(seed)
        bank = np.stack([[scenes.paint(scenes.SCENES[name], rng) for _ in range(VIEWS_OF_SCENE)] for name in SCENES])
        self._scenes_SV3HW = torch.from_numpy(bank).to(device).permute(0, 1, 4, 2, 3)

    @torch.no_grad()
    def __call__(self, layouts_B5: Tensor) -> Tensor:
        """Pictures (B, 3, SIDE, SIDE) in -1..1 of layouts (B, 5)."""
        drawing, background, scene, hue, companion = layouts_B5.unbind(1)
        in_scene, accompanied = scene != NONE, companion != NONE
        count = len(layouts_B5)

        def spread(*of_kind: tuple[float, float]) -> Tensor:
            """Uniform in the range for drawings with a companion, for those in a scene, or for those alone."""
            with_other, scenic, alone = (self._uniform(count, *bounds) for bounds in of_kind)
            return torch.where(accompanied, with_other, torch.where(in_scene, scenic, alone))

        side = torch.where(self._coin(count), 1.0, -1.0)
        aside = side * self._uniform(count, -0.46, -0.36)
        x = torch.where(accompanied, aside, self._uniform(count, -0.12, 0.12))
        y = spread((0.05, 0.22), (0.05, 0.22), (-0.08, 0.08))
        scale = spread((0.5, 0.62), (0.55, 0.8), (0.72, 0.98))
        tilt = self._uniform(count, -0.14, 0.14)
        subject = place(self._shifted(drawing, hue), self._coin(count), tilt, scale, x, y)

        other = self._rgba(companion.clamp_min(0)) * accompanied[:, None, None, None]
        x, y = side * self._uniform(count, 0.44, 0.54), self._uniform(count, 0.15, 0.35)
        scale, tilt = self._uniform(count, 0.36, 0.46), self._uniform(count, -0.1, 0.1)
        other = place(other, self._coin(count), tilt, scale, x, y)

        picture = _over(other, _over(subject, self._background(background, scene)))
        return picture * 2 - 1

    def elsewhere(self, layouts_B5: Tensor) -> Tensor:
        """The same drawings in the same hues without their companions, on other backgrounds and in other scenes."""
        drawing, _, _, hue, _ = layouts_B5.unbind(1)
        background = self._choice(len(layouts_B5), len(COLOURS))
        scene = self._choice(len(layouts_B5), len(SCENES))
        scene = torch.where(self._coin(len(layouts_B5), P_SCENE_ELSEWHERE), scene, NONE)
        return torch.stack([drawing, background, scene, hue, torch.full_like(drawing, NONE)], 1)

    def _background(self, colour_B: Tensor, scene_B: Tensor) -> Tensor:
        count = len(colour_B)
        views = self._scenes_SV3HW[scene_B.clamp_min(0), self._choice(count, VIEWS_OF_SCENE)] / 255
        views = torch.where(self._coin(count)[:, None, None, None], views.flip(-1), views)
        plain = self._colours[colour_B][:, :, None, None]
        return torch.where((scene_B != NONE)[:, None, None, None], views, plain)

    def _shifted(self, drawing_B: Tensor, hue_B: Tensor) -> Tensor:
        """Drawings with their dominant hue shifted to the named hue, if there is one."""
        rgba = self._rgba(drawing_B)
        target = self._target_hues[hue_B.clamp_min(0)] + self._uniform(len(hue_B), -HUE_JITTER, HUE_JITTER)
        shift = torch.where(hue_B != NONE, target - self._hue_N[drawing_B], 0.0)
        hue, saturation, value = rgb_to_hsv(rgba[:, :3]).unbind(1)
        rgb = hsv_to_rgb(torch.stack([(hue + shift[:, None, None]) % 1, saturation, value], 1))
        return torch.cat([rgb, rgba[:, 3:]], 1)

    def _rgba(self, drawing_B: Tensor) -> Tensor:
        return self._rgba_N4HW[drawing_B] / 255

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        uniform = torch.rand(count, device=self._generator.device, generator=self._generator)
        return low + (high - low) * uniform

    def _coin(self, count: int, chance: float = 0.5) -> Tensor:
        return self._uniform(count, 0, 1) < chance

    def _choice(self, count: int, options: int) -> Tensor:
        return torch.randint(options, (count,), device=self._generator.device, generator=self._generator)


def place(rgba_B4HW: Tensor, mirrored_B: Tensor, angle_B: Tensor, scale_B: Tensor, x_B: Tensor, y_B: Tensor) -> Tensor:
    """Moves drawings on their canvas; returns premultiplied RGBA (B, 4, H, W) in 0..1.

    Angles are in radians; the centre (x, y) is in -1..1, as in `torch.nn.functional.affine_grid`. Colours are
    multiplied by alpha before the interpolation, so that the colours of transparent pixels have no effect.
    """
    alpha = rgba_B4HW[:, 3:]
    premultiplied = torch.cat([rgba_B4HW[:, :3] * alpha, alpha], 1)
    cos, sin = angle_B.cos() / scale_B, angle_B.sin() / scale_B
    sign = torch.where(mirrored_B, -1.0, 1.0)
    # affine_grid needs the inverse map, from the canvas to the drawing.
    to_x = torch.stack([cos * sign, -sin * sign, -(cos * x_B - sin * y_B) * sign], 1)
    to_y = torch.stack([sin, cos, -(sin * x_B + cos * y_B)], 1)
    grid = F.affine_grid(torch.stack([to_x, to_y], 1), list(premultiplied.shape), align_corners=False)
    return F.grid_sample(premultiplied, grid, align_corners=False)


def _over(premultiplied_B4HW: Tensor, below_B3HW: Tensor) -> Tensor:
    """Porter and Duff's "over" onto an opaque picture."""
    return premultiplied_B4HW[:, :3] + (1 - premultiplied_B4HW[:, 3:]) * below_B3HW
