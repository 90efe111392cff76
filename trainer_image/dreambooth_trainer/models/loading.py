"""Loads base models of all families, in folders and single files, from the places that `sources` finds."""

from collections.abc import Mapping
from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreambooth_api.failures import OutOfMemory, StorageFull, classify
from dreambooth_api.model_files import pipeline_of
from dreambooth_api.training import Model
from dreambooth_trainer.models.flow.chroma import Chroma
from dreambooth_trainer.models.flow.flux1 import Flux1
from dreambooth_trainer.models.flow.flux2 import Flux2Klein
from dreambooth_trainer.models.flow.krea2 import Krea2
from dreambooth_trainer.models.flow.qwen_image import QwenImage
from dreambooth_trainer.models.flow.sd3 import StableDiffusion3
from dreambooth_trainer.models.flow.z_image import ZImage
from dreambooth_trainer.models.identity import digest_at, files_of, unavailable
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.sources import locate_configuration
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.models.stable_diffusion.xl import StableDiffusionXL

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
    files = files_of(model)
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
            digest=digest or digest_at(files.path, model),
            commit=files.commit,
            origin=files.path,
        )
    except Exception as error:
        if isinstance(failure := classify(error), (OutOfMemory, StorageFull)):
            raise failure from error
        raise unavailable(model, str(error).partition("\n")[0].rstrip(".")) from error
    loaded.refuse_what_is_not_finite(model.source)
    return loaded


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
