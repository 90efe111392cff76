"""Loads Stable Diffusion checkpoints, folders and single files, from wherever `sources` finds them."""

from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from dreambooth_api.failures import ModelUnavailable, OutOfMemory, StorageFull, classify
from dreambooth_api.training import Model
from dreambooth_trainer.models.base import Identity
from dreambooth_trainer.models.sources import CONFIGURATION, digests_of, locate, locate_configuration
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.process.storage import digest_of, sha256_once

WITHOUT_EXTRAS = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
"""The safety checker judges finished pictures; training needs none."""

PARTS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
"""Folders of a pipeline that are read."""

WEIGHTS = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
"""Weight files of the parts that training needs, without variant and suffix."""


def load_stable_diffusion(
    model: Model, device: torch.device, precision: torch.dtype, digest: str | None = None
) -> StableDiffusion:
    """Loads a Stable Diffusion model, weights in float32.

    Args:
        model: where it is.
        device: where it computes.
        precision: number format of the arithmetic.
        digest: what `identify` says of it, where that is known.

    Raises:
        ModelUnavailable: it is not there, incomplete, or of another family.
    """
    files = locate(model, downloads(model.variant))
    # The libraries' own progress bars would run into ours.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        pipeline = _pipeline(files.path, model)
    except Exception as error:
        if isinstance(failure := classify(error), (OutOfMemory, StorageFull)):
            raise failure from error
        cause = str(error).partition("\n")[0].rstrip(".")
        raise ModelUnavailable(
            f"model.source: {model.source!r} can't be loaded as Stable Diffusion: {cause}. Give a complete "
            "folder in diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint with "
            "model.config."
        ) from error
    return StableDiffusion(
        pipeline,
        device=device,
        precision=precision,
        digest=digest or _digest(files.path, model),
        commit=files.commit,
    )


def identify(model: Model) -> Identity:
    """Tells what a model is by what is read of it, whatever its path; nothing is loaded.

    Raises:
        ModelUnavailable: it is not there.
    """
    files = locate(model, downloads(model.variant))
    return Identity(_digest(files.path, model), files.commit)


def downloads(variant: str | None) -> list[str]:
    """Patterns of what is fetched of a hub repository.

    No pickles, which could run code; of the weights only those of the variant, since repositories hold every layout and
    precision, many times what is read.
    """
    mark = f".{variant}" if variant else ""
    return ["*.json", "*.txt", *(f"{name}{mark}{rest}.safetensors" for name in WEIGHTS for rest in ("", "-*"))]


def _pipeline(path: Path, model: Model) -> StableDiffusionPipeline:
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ValueError("not a .safetensors file, and other formats can run code")
        folder = locate_configuration(model)
        return StableDiffusionPipeline.from_single_file(
            str(path), config=str(folder) if folder else None, dtype=torch.float32, **WITHOUT_EXTRAS
        )
    kind = StableDiffusionPipeline.load_config(path)["_class_name"]
    if kind != StableDiffusionPipeline.__name__:
        raise ValueError(f"it is a {kind}, and no other than {StableDiffusionPipeline.__name__} is known")
    if missing := [name for name in PARTS if not (path / name).is_dir()]:
        raise FileNotFoundError(f"it lacks {', '.join(missing)}")
    return StableDiffusionPipeline.from_pretrained(
        path, variant=model.variant, dtype=torch.float32, use_safetensors=True, **WITHOUT_EXTRAS
    )


def _digest(path: Path, model: Model) -> str:
    """SHA-256 over the files that loading reads."""
    if path.is_file():
        folder = locate_configuration(model)
        names = [name for pattern in CONFIGURATION for name in folder.rglob(pattern)] if folder else []
        return digest_of([sha256_once(path), digests_of(folder, names) if folder else None])
    names = [path / "model_index.json"]
    for part in PARTS:
        names += [name for pattern in CONFIGURATION for name in (path / part).glob(pattern)]
        weights = list((path / part).glob("*.safetensors"))
        names += [
            name for name in weights if any(map(name.relative_to(path).match, downloads(model.variant)))
        ] or weights
    return digest_of(digests_of(path, filter(Path.is_file, names)))
