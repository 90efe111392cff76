"""Tests of dreambooth_trainer.phases.cache."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from dreambooth_trainer.phases.cache import loss_weights
from dreambooth_trainer.phases.prepare import PreparedPhoto


@pytest.mark.parametrize("shape_CHW", [(4, 8, 8), (16, 4, 4), (3, 64, 64)], ids=["latents", "packed", "pixels"])
def test_a_mask_becomes_weights_of_latents(tmp_path: Path, shape_CHW: tuple[int, int, int]) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 0, 64, 8))
    mask.save(tmp_path / "02.png")
    photos = [
        PreparedPhoto(file=f"0{number}.png", source="a.jpg", width=64, height=64, masked=number == 2)
        for number in (1, 2)
    ]
    weights = loss_weights(tmp_path, photos, torch.zeros(2, *shape_CHW))
    assert weights.shape == (2, 1, *shape_CHW[1:])
    assert (weights[0] == 1).all()
    side = shape_CHW[1]
    share = 48 * 8 / 64**2
    expected = torch.zeros(side, side)
    rows = max(side // 8, 1)
    expected[:rows, side // 4 :] = min(8 * side / 64, 1) / share
    torch.testing.assert_close(weights[1, 0], expected)
    assert weights[1].mean() == pytest.approx(1)
