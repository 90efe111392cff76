"""Loads Stable Diffusion checkpoints, folders and single files, from wherever `sources` finds them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from dreambooth_trainer.config import Model
from dreambooth_trainer.failures import ModelUnavailable, classify
from dreambooth_trainer.models.sources import Files, locate
from dreambooth_trainer.models.stable_diffusion import StableDiffusion
from dreambooth_trainer.storage import digest_of, manifest_of, sha256_of

WITHOUT_EXTRAS = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
"""The safety checker judges finished pictures; training needs none."""

DOWNLOADED = ["*.json", "*.txt", "*.safetensors", "*.model"]
"""What is fetched of a hub repository: no pickles, which could run code."""


def load_stable_diffusion(model: Model, device: torch.device, precision: torch.dtype) -> StableDiffusion:
    """Loads a Stable Diffusion model, weights in float32.

    Raises:
        ModelUnavailable: it is not there, incomplete, or of another family.
    """
    files = locate(model, DOWNLOADED)
    try:
        with _quiet():
            pipeline = _pipeline(files.path, model)
    except Exception as error:
        if failure := classify(error):
            raise failure from error
        raise ModelUnavailable(
            f"model.source: {model.source!r} can't be loaded as Stable Diffusion: {str(error).splitlines()[0]}. Give a complete "
            "folder in diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint with "
            "model.config."
        ) from error
    return StableDiffusion(
        pipeline, device=device, precision=precision, digest=_digest(files, model.variant), commit=files.commit
    )


def _pipeline(path: Path, model: Model) -> StableDiffusionPipeline:
    if path.is_file():
        return StableDiffusionPipeline.from_single_file(
            str(path), config=model.config, torch_dtype=torch.float32, **WITHOUT_EXTRAS
        )
    return StableDiffusionPipeline.from_pretrained(
        path, variant=model.variant, torch_dtype=torch.float32, use_safetensors=True, **WITHOUT_EXTRAS
    )


def _digest(files: Files, variant: str | None) -> str:
    """SHA-256 that stands for a model's content; a hub commit stands for its files."""
    if files.commit:
        return digest_of([files.commit, variant])
    return sha256_of(files.path) if files.path.is_file() else digest_of([manifest_of(files.path), variant])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' own progress bars out of ours."""
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    yield
