"""Loads base models of all families, in folders and single files, from the places that `sources` finds."""

from collections.abc import Mapping
from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreambooth_api.failures import ModelUnavailable, OutOfMemory, StorageFull, classify
from dreambooth_api.model_families import FAMILIES, Family
from dreambooth_api.model_files import pipeline_of, why_no_base_model
from dreambooth_api.training import Model
from dreambooth_trainer.models.base import Identity
from dreambooth_trainer.models.flow.chroma import Chroma
from dreambooth_trainer.models.flow.flux1 import Flux1
from dreambooth_trainer.models.flow.flux2 import Flux2Klein
from dreambooth_trainer.models.flow.krea2 import Krea2
from dreambooth_trainer.models.flow.qwen_image import QwenImage
from dreambooth_trainer.models.flow.sd3 import StableDiffusion3
from dreambooth_trainer.models.flow.z_image import ZImage
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.sources import CONFIGURATION, Files, digests_of, locate, locate_configuration
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.models.stable_diffusion.xl import StableDiffusionXL
from dreambooth_trainer.process.storage import digest_of, sha256_once

WEIGHTS = ("model", "diffusion_pytorch_model")
"""Names of weight files in the layouts of transformers and diffusers, without variant and suffix."""

MODELS: dict[str, type[LatentDiffusion]] = {
    model.pipeline_class.__name__: model
    for model in (
        StableDiffusion,
        StableDiffusionXL,
        Flux2Klein,
        StableDiffusion3,
        Flux1,
        Chroma,
        ZImage,
        QwenImage,
        Krea2,
    )
}
"""Classes of models by the pipeline that `model_index.json` names."""


def load_model(
    model: Model,
    device: torch.device,
    precision: torch.dtype,
    digest: str | None = None,
    *,
    weights: torch.dtype = torch.float32,
) -> LatentDiffusion:
    """Loads a base model.

    Args:
        model: where the model is.
        device: device that computes.
        precision: number format of the arithmetic.
        digest: the digest that `identify` returns, if it is known.
        weights: number format of the denoiser's weights.

    Raises:
        ModelUnavailable: the model does not exist, is incomplete, or is of another family.
        NonFiniteLoss: its weights or its noise schedule give numbers that are not finite.
    """
    files = _files_of(model)
    # The libraries' own progress bars would mix with ours.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        kind = MODELS[pipeline_of(files.path)]
        pipeline = _pipeline(kind, files.path, model, kind.weight_formats(weights, precision))
        kind.check_pipeline(pipeline)
        loaded = kind(
            pipeline,
            device=device,
            precision=precision,
            digest=digest or _digest(files.path, model),
            commit=files.commit,
            origin=files.path,
        )
    except Exception as error:
        if isinstance(failure := classify(error), (OutOfMemory, StorageFull)):
            raise failure from error
        raise _unavailable(model, str(error).partition("\n")[0].rstrip(".")) from error
    loaded.refuse_what_is_not_finite(model.source)
    return loaded


def identify(model: Model) -> Identity:
    """Identifies a model by the files that loading reads, whatever its path. Does not load the model.

    Raises:
        ModelUnavailable: the model does not exist, or is of another family.
    """
    files = _files_of(model)
    return Identity(_digest(files.path, model), files.commit, _family(files.path))


def _files_of(model: Model) -> Files:
    """Finds a model's files. Of a hub repository, the configuration comes first: a model that can't be used may have many
    gigabytes of weights.

    Raises:
        ModelUnavailable: the model does not exist, or is of another family.
    """
    files = locate(model, CONFIGURATION)
    if reason := why_no_base_model(files.path):
        raise _unavailable(model, f"it {reason}")
    return (
        locate(model.model_copy(update={"revision": files.commit}), downloads(_family(files.path), model.variant))
        if files.commit
        else files
    )


def _unavailable(model: Model, cause: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"model.source: {model.source!r} can't be loaded: {cause}. Give a complete folder of a supported family in "
        "diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint with model.config."
    )


def downloads(family: Family, variant: str | None) -> list[str]:
    """Patterns of the files that are downloaded from a hub repository.

    They match no pickles, which could run code, and only the weights of the variant: repositories hold the weights in
    many layouts and precisions.
    """
    mark = f".{variant}" if variant else ""
    weights = [
        f"{folder}/{name}{mark}{rest}.safetensors"
        for folder in family.folders
        for name in WEIGHTS
        for rest in ("", "-*")
    ]
    return [*CONFIGURATION, *weights]


def _family(path: Path) -> Family:
    """Family of files that were found usable."""
    return FAMILIES[pipeline_of(path)]


def _pipeline(
    kind: type[LatentDiffusion], path: Path, model: Model, formats: Mapping[str, torch.dtype]
) -> DiffusionPipeline:
    if path.is_file():
        folder = locate_configuration(model)
        pipeline = kind.pipeline_class.from_single_file(
            str(path), config=str(folder) if folder else None, dtype=torch.float32, **kind.without
        )
        denoiser = kind.family().denoiser
        getattr(pipeline, denoiser).to(formats[denoiser])
        return pipeline
    return kind.pipeline_class.from_pretrained(
        path, variant=model.variant, dtype=dict(formats), use_safetensors=True, **kind.without
    )


def _digest(path: Path, model: Model) -> str:
    """SHA-256 over the files that loading reads."""
    if path.is_file():
        folder = locate_configuration(model)
        names = [name for pattern in CONFIGURATION for name in folder.rglob(pattern)] if folder else []
        return digest_of([sha256_once(path), digests_of(folder, names) if folder else None])
    family = _family(path)
    names = [path / "model_index.json"]
    for part in family.folders:
        names += [name for pattern in CONFIGURATION for name in (path / part).glob(pattern)]
        weights = list((path / part).glob("*.safetensors"))
        names += [
            name for name in weights if any(map(name.relative_to(path).match, downloads(family, model.variant)))
        ] or weights
    return digest_of(digests_of(path, filter(Path.is_file, names)))
