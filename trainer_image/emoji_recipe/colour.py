"""RGB to HSV and back on batches, and the dominant hue of a drawing. `compose` shifts hues with them."""

import math

import torch
from torch import Tensor


def rgb_to_hsv(rgb_B3HW: Tensor) -> Tensor:
    """Hue in turns, saturation and value, all in 0..1, of RGB in 0..1; shapes (B, 3, H, W)."""
    red, green, blue = rgb_B3HW.unbind(1)
    value, low = rgb_B3HW.amax(1), rgb_B3HW.amin(1)
    chroma = (value - low).clamp_min(1e-6)
    sextant = torch.where(
        value == red,
        ((green - blue) / chroma) % 6,
        torch.where(value == green, (blue - red) / chroma + 2, (red - green) / chroma + 4),
    )
    return torch.stack([sextant / 6, (value - low) / value.clamp_min(1e-6), value], 1)


def hsv_to_rgb(hsv_B3HW: Tensor) -> Tensor:
    """Inverse of `rgb_to_hsv`; formula: https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative"""
    hue, saturation, value = hsv_B3HW.unbind(1)

    def channel(n: int) -> Tensor:
        k = (n + hue * 6) % 6
        return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], 1)


def dominant_hue(rgba_B4HW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean hue (turns, -0.5..0.5) and mean saturation (0..1) of drawings in 0..1, shapes (B,).

    Hue is an angle, so it is averaged on the circle. Opaque, saturated and bright pixels have the highest weight.
    """
    hue, saturation, value = rgb_to_hsv(rgba_B4HW[:, :3]).unbind(1)
    alpha = rgba_B4HW[:, 3]
    weight, angle = alpha * saturation * value, 2 * math.pi * hue
    mean_angle = torch.atan2((weight * angle.sin()).sum((1, 2)), (weight * angle.cos()).sum((1, 2)))
    return mean_angle / (2 * math.pi), weight.sum((1, 2)) / alpha.sum((1, 2)).clamp_min(1)
