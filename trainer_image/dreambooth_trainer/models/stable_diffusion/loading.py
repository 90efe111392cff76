"""Loads checkpoints of Stable Diffusion and SDXL, in folders and single files, from the places that `sources` finds."""

from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from dreambooth_api.failures import ModelUnavailable, NonFiniteLoss, OutOfMemory, StorageFull, classify
from dreambooth_api.model_files import PIPELINES, pipeline_of, why_no_base_model
from dreambooth_api.training import Model
from dreambooth_trainer.models.base import Identity
from dreambooth_trainer.models.sources import CONFIGURATION, Files, digests_of, locate, locate_configuration
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion, tokenizer_of
from dreambooth_trainer.models.stable_diffusion.xl import StableDiffusionXL
from dreambooth_trainer.process.storage import digest_of, sha256_once

FAMILIES: dict[str, type[StableDiffusion]] = {
    family.pipeline_class.__name__: family for family in (StableDiffusion, StableDiffusionXL)
}
"""Families by the pipeline that `model_index.json` names."""

WEIGHTS = (
    "text_encoder/model",
    "text_encoder_2/model",
    "unet/diffusion_pytorch_model",
    "vae/diffusion_pytorch_model",
)
"""Weight files of the parts that training needs, without variant and suffix."""


def load_stable_diffusion(
    model: Model,
    device: torch.device,
    precision: torch.dtype,
    digest: str | None = None,
    *,
    weights: torch.dtype = torch.float32,
) -> StableDiffusion:
    """Loads a model of Stable Diffusion or SDXL.

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
        family = FAMILIES[pipeline_of(files.path)]
        pipeline = _pipeline(family, files.path, model, weights)
        _refuse_parts_that_do_not_fit(pipeline, family)
        loaded = family(
            pipeline,
            device=device,
            precision=precision,
            digest=digest or _digest(files.path, model),
            commit=files.commit,
        )
    except Exception as error:
        if isinstance(failure := classify(error), (OutOfMemory, StorageFull)):
            raise failure from error
        raise _unavailable(model, str(error).partition("\n")[0].rstrip(".")) from error
    _refuse_what_is_not_finite(loaded, model.source)
    return loaded


def _refuse_parts_that_do_not_fit(pipeline: DiffusionPipeline, family: type[StableDiffusion]) -> None:
    unet, vae = pipeline.unet.config, pipeline.vae.config
    text_encoders = [getattr(pipeline, name).config for name in family.text_parts]
    if unet.in_channels != vae.latent_channels:
        raise ValueError(
            f"its UNet has {unet.in_channels} input channels and its latents {vae.latent_channels}, as in models that "
            "also take a picture (inpainting)"
        )
    if unet.time_cond_proj_dim is not None:
        raise ValueError(
            "its UNet takes the guidance scale as an input, as in models that are distilled to few steps (LCM). Give the "
            "model that it was distilled from"
        )
    if vae.latents_mean is not None:
        raise ValueError("its autoencoder normalises latents by their mean, which is not supported")
    width = sum(text_encoder.hidden_size for text_encoder in text_encoders)
    # A list of widths is from no model of these families; the libraries raise an error for it.
    if isinstance(unet.cross_attention_dim, int) and unet.cross_attention_dim != width:
        encoders = "text encoder gives" if len(text_encoders) == 1 else "text encoders give"
        raise ValueError(f"its UNet takes embeddings of {unet.cross_attention_dim} numbers, and its {encoders} {width}")
    for name, text_encoder in zip(family.text_parts, text_encoders, strict=True):
        tokens = len(getattr(pipeline, tokenizer_of(name)))
        if tokens > text_encoder.vocab_size:
            raise ValueError(
                f"its {tokenizer_of(name)} has {tokens} tokens, and its {name} knows {text_encoder.vocab_size}"
            )


def _refuse_what_is_not_finite(model: StableDiffusion, source: str) -> None:
    """Rejects weights that are NaN or infinite, and a noise schedule that gives such numbers: the pictures would be
    black."""
    for part, module in {"unet": model.denoiser, **model.text_encoders, "vae": model.vae}.items():
        for name, weights in module.named_parameters():
            # The sum is only infinite or NaN with such a number, or with extremely large ones.
            if not weights.sum().isfinite() and not weights.isfinite().all():
                raise NonFiniteLoss(
                    f"model.source: {source!r} has weights that are not finite in its {part} ({name}). Give another "
                    "model, or another copy of it."
                )
    if model.objective.predicts == "epsilon" and model.objective.ends_without_signal:
        raise NonFiniteLoss(
            f"model.source: {source!r} has a scheduler whose noise schedule ends without any signal "
            "(rescale_betas_zero_snr). A UNet that predicts noise (epsilon) can't generate pictures with it. Give a "
            "model with v_prediction, or correct scheduler/scheduler_config.json."
        )


def identify(model: Model) -> Identity:
    """Identifies a model by the files that loading reads, whatever its path. Does not load the model.

    Raises:
        ModelUnavailable: the model does not exist, or is of another family.
    """
    files = _files_of(model)
    return Identity(_digest(files.path, model), files.commit)


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
        locate(model.model_copy(update={"revision": files.commit}), downloads(model.variant)) if files.commit else files
    )


def _unavailable(model: Model, cause: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"model.source: {model.source!r} can't be loaded: {cause}. Give a complete folder of Stable Diffusion or SDXL in "
        "diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint with model.config."
    )


def downloads(variant: str | None) -> list[str]:
    """Patterns of the files that are downloaded from a hub repository.

    They match no pickles, which could run code, and only the weights of the variant: repositories hold the weights in
    many layouts and precisions.
    """
    mark = f".{variant}" if variant else ""
    return ["*.json", "*.txt", *(f"{name}{mark}{rest}.safetensors" for name in WEIGHTS for rest in ("", "-*"))]


def _pipeline(family: type[StableDiffusion], path: Path, model: Model, weights: torch.dtype) -> DiffusionPipeline:
    if path.is_file():
        folder = locate_configuration(model)
        pipeline = family.pipeline_class.from_single_file(
            str(path), config=str(folder) if folder else None, dtype=torch.float32, **family.without
        )
        pipeline.unet.to(weights)
        return pipeline
    return family.pipeline_class.from_pretrained(
        path,
        variant=model.variant,
        dtype={"unet": weights, "default": torch.float32},
        use_safetensors=True,
        **family.without,
    )


def _digest(path: Path, model: Model) -> str:
    """SHA-256 over the files that loading reads."""
    if path.is_file():
        folder = locate_configuration(model)
        names = [name for pattern in CONFIGURATION for name in folder.rglob(pattern)] if folder else []
        return digest_of([sha256_once(path), digests_of(folder, names) if folder else None])
    names = [path / "model_index.json"]
    for part in PIPELINES.get(pipeline_of(path), ()):
        names += [name for pattern in CONFIGURATION for name in (path / part).glob(pattern)]
        weights = list((path / part).glob("*.safetensors"))
        names += [
            name for name in weights if any(map(name.relative_to(path).match, downloads(model.variant)))
        ] or weights
    return digest_of(digests_of(path, filter(Path.is_file, names)))
