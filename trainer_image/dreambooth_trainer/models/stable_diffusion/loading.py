"""Loads Stable Diffusion checkpoints, in folders and single files, from the places that `sources` finds."""

from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from dreambooth_api.failures import ModelUnavailable, NonFiniteLoss, OutOfMemory, StorageFull, classify
from dreambooth_api.model_files import PIPELINES, why_no_base_model
from dreambooth_api.training import Model
from dreambooth_trainer.models.base import Identity
from dreambooth_trainer.models.sources import CONFIGURATION, digests_of, locate, locate_configuration
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.process.storage import digest_of, sha256_once

WITHOUT_EXTRAS = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
"""The safety checker checks finished pictures. The training does not need it."""

PARTS = PIPELINES["StableDiffusionPipeline"]
"""Folders of a pipeline that are read."""

WEIGHTS = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
"""Weight files of the parts that training needs, without variant and suffix."""


def load_stable_diffusion(
    model: Model, device: torch.device, precision: torch.dtype, digest: str | None = None
) -> StableDiffusion:
    """Loads a Stable Diffusion model, weights in float32.

    Args:
        model: where the model is.
        device: device that computes.
        precision: number format of the arithmetic.
        digest: the digest that `identify` returns, if it is known.

    Raises:
        ModelUnavailable: the model does not exist, is incomplete, or is of another family.
        NonFiniteLoss: its weights or its noise schedule give numbers that are not finite.
    """
    files = locate(model, downloads(model.variant))
    # The libraries' own progress bars would mix with ours.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        pipeline = _pipeline(files.path, model)
        _refuse_parts_that_do_not_fit(pipeline)
    except Exception as error:
        if isinstance(failure := classify(error), (OutOfMemory, StorageFull)):
            raise failure from error
        cause = str(error).partition("\n")[0].rstrip(".")
        raise ModelUnavailable(
            f"model.source: {model.source!r} can't be loaded as Stable Diffusion: {cause}. Give a complete "
            "folder in diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint "
            "with model.config."
        ) from error
    loaded = StableDiffusion(
        pipeline,
        device=device,
        precision=precision,
        digest=digest or _digest(files.path, model),
        commit=files.commit,
    )
    _refuse_what_is_not_finite(loaded, model.source)
    return loaded


def _refuse_parts_that_do_not_fit(pipeline: StableDiffusionPipeline) -> None:
    unet, vae, text_encoder = pipeline.unet.config, pipeline.vae.config, pipeline.text_encoder.config
    if unet.in_channels != vae.latent_channels:
        raise ValueError(
            f"its UNet has {unet.in_channels} input channels and its latents {vae.latent_channels}, as in models that "
            "also take a picture (inpainting)"
        )
    # A list of widths is not from a Stable Diffusion model; the libraries raise an error for it.
    if isinstance(unet.cross_attention_dim, int) and unet.cross_attention_dim != text_encoder.hidden_size:
        raise ValueError(
            f"its UNet takes embeddings of {unet.cross_attention_dim} numbers, and its text encoder gives "
            f"{text_encoder.hidden_size}"
        )
    if len(pipeline.tokenizer) > text_encoder.vocab_size:
        raise ValueError(
            f"its tokenizer has {len(pipeline.tokenizer)} tokens, and its text encoder knows {text_encoder.vocab_size}"
        )


def _refuse_what_is_not_finite(model: StableDiffusion, source: str) -> None:
    """Rejects weights that are NaN or infinite, and a noise schedule that gives such numbers: the pictures would be
    black."""
    for part, module in {"unet": model.denoiser, "text_encoder": model.text_encoder, "vae": model.vae}.items():
        for name, weights in module.named_parameters():
            # The sum is only infinite or NaN with such a number, or with extremely large ones.
            if not weights.sum().isfinite() and not weights.isfinite().all():
                raise NonFiniteLoss(
                    f"model.source: {source!r} has weights that are not finite in its {part} ({name}). Give another "
                    "model, or another copy of it."
                )
    if model.noising.config.prediction_type == "epsilon" and float(model.noising.alphas_cumprod.min()) <= 0:
        raise NonFiniteLoss(
            f"model.source: {source!r} has a scheduler whose noise schedule ends without any signal "
            "(rescale_betas_zero_snr). A UNet that predicts noise (epsilon) can't generate pictures with it. Give a "
            "model with v_prediction, or correct scheduler/scheduler_config.json."
        )


def identify(model: Model) -> Identity:
    """Identifies a model by the files that loading reads, whatever its path. Does not load the model.

    Raises:
        ModelUnavailable: the model does not exist.
    """
    files = locate(model, downloads(model.variant))
    return Identity(_digest(files.path, model), files.commit)


def downloads(variant: str | None) -> list[str]:
    """Patterns of the files that are downloaded from a hub repository.

    They match no pickles, which could run code, and only the weights of the variant: repositories hold the weights in
    many layouts and precisions.
    """
    mark = f".{variant}" if variant else ""
    return ["*.json", "*.txt", *(f"{name}{mark}{rest}.safetensors" for name in WEIGHTS for rest in ("", "-*"))]


def _pipeline(path: Path, model: Model) -> StableDiffusionPipeline:
    if reason := why_no_base_model(path):
        raise ValueError(f"it {reason}")
    if path.is_file():
        folder = locate_configuration(model)
        return StableDiffusionPipeline.from_single_file(
            str(path), config=str(folder) if folder else None, dtype=torch.float32, **WITHOUT_EXTRAS
        )
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
