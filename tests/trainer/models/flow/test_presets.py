"""The presets for targets of adapters mean the same layers in each family."""

import re
from pathlib import Path
from typing import get_args

import pytest

from dreambooth_trainer.training.module import ADAPTED, layers_of
from tests.trainer.tiny_flow import FlowFamily, build_flow, loaded_flow

OTHERS = r"mod|norm|adaLN"
"""Layers of blocks that are neither attention nor feed-forward: they modulate and normalise."""


@pytest.mark.parametrize("family", get_args(FlowFamily))
def test_presets(family: FlowFamily, tmp_path: Path) -> None:
    build_flow(family).save_pretrained(tmp_path)
    denoiser = loaded_flow(tmp_path).denoiser
    attention, both = ({*layers_of(denoiser, preset)} for preset in ("attention", "attention+ff"))
    assert attention < both
    in_blocks = [
        name for name, layer in denoiser.named_modules() if isinstance(layer, ADAPTED) and re.search(r"\.\d+\.", name)
    ]
    blocks = {name for name in in_blocks if re.match(r"(text_fusion\.)?(\w+_)?(blocks|layers|refiner)\.", name)}
    assert both <= blocks
    assert [name for name in sorted(blocks - both) if not re.search(OTHERS, name)] == []
