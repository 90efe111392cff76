"""The flow-matching families in small: pipelines of the published structure with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreambooth_trainer.models.flow.model import FlowTransformer
from tests.trainer.tiny_chat import flux2_klein, krea2, qwen_image, z_image
from tests.trainer.tiny_t5 import chroma, flux1_dev, stable_diffusion_3_5

FlowFamily = Literal["flux2-klein", "sd3.5", "flux1-dev", "chroma", "z-image", "qwen-image", "krea2"]

SIZE = 64
"""Side of the pictures in the tests."""


def build_flow(family: FlowFamily) -> DiffusionPipeline:
    """A pipeline of a family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return BUILDERS[family]()


BUILDERS: dict[FlowFamily, Callable[[], DiffusionPipeline]] = {
    "flux2-klein": flux2_klein,
    "sd3.5": stable_diffusion_3_5,
    "flux1-dev": flux1_dev,
    "chroma": chroma,
    "z-image": z_image,
    "qwen-image": qwen_image,
    "krea2": krea2,
}


def loaded_flow(folder: Path, precision: torch.dtype = torch.float32) -> FlowTransformer:
    """The trainer's own model of a folder."""
    from dreambooth_api.training import Model
    from dreambooth_trainer.models.loading import load_model

    loaded = load_model(Model(source=str(folder)), torch.device("cpu"), precision, weights=precision)
    assert isinstance(loaded, FlowTransformer)
    return loaded
