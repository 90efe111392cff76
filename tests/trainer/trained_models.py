"""Trained models without the time of a training: every trainable weight is changed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.module import DreamBoothModule
from tests.trainer.tiny_models import Layout

M = TypeVar("M", bound=LatentDiffusion)

Train = Callable[[Layout, dict[str, Any]], tuple[Run, StableDiffusion]]
"""Makes a run whose training moved every weight that it trains, and the model that it has trained."""

LORA = {"method": "lora", "lora": {"rank": 4, "alpha": 6}}
TRAININGS: dict[str, dict[str, Any]] = {
    "full": {},
    "full with text encoder": {"trainTextEncoder": True},
    "lora": LORA,
    "lora with text encoder": {**LORA, "trainTextEncoder": True},
    "lora with other targets": {
        "method": "lora",
        "trainTextEncoder": True,
        "lora": {"rank": 2, "targets": ["to_q", "ff.net.2", "proj_in", "conv1"]},
    },
}


ALL_FORMATS = ("diffusers", "single-file", "comfyui")


def train(base: M, root: Path, training: dict[str, Any], formats: Sequence[str] = ALL_FORMATS) -> tuple[Run, M]:
    """A run in a folder, and the model that it has trained from a base.

    Args:
        base: the base model, which becomes the trained one.
        root: the folder.
        training: settings of the training.
        formats: formats of the exported model.
    """
    config = TrainConfig.model_validate(
        {
            "model": {"source": str(base.origin)},
            "subject": {"class": "dog", "images": {"path": "photos"}},
            "training": {"mixedPrecision": "fp32", **training},
            "output": {"formats": list(formats)},
        }
    )
    run = Run(config, RunFolder(root / "run"), root / "cache", Distributed(), Progress(), identifiers=["sks"])
    module = DreamBoothModule(base, config.training, prior_weight=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in module.learning():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.03)
    run.folder.weights.mkdir(parents=True)
    weights = {name: parameter.detach().clone().contiguous() for name, parameter in module.learning()}
    save_file(weights, run.folder.weights / "weights.safetensors")
    module.eval()
    return run, base
