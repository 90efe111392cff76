"""Loads Stable Diffusion checkpoints, folders and single files, from wherever `sources` finds them."""

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
"""The safety checker judges finished pictures; training needs none."""

PARTS = PIPELINES["StableDiffusionPipeline"]
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
        NonFiniteLoss: nothing can be computed with its weights or its noise schedule.
    """
    files = locate(model, downloads(model.variant))
    # The libraries' own progress bars would run into ours.
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
            "folder in diffusers' layout with .safetensors weights (see model.variant), or a single-file checkpoint with "
            "model.config."
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
            f"its UNet has {unet.in_channels} input channels and its latents {vae.latent_channels}, as in models that get a "
            "picture beside the prompt (inpainting)"
        )
    # Blocks of several widths, which a list names, are no Stable Diffusion; the libraries judge them.
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
    """Weights that are NaN or infinite, and a noise schedule that makes such numbers, give black pictures."""
    for part, module in {"unet": model.denoiser, "text_encoder": model.text_encoder, "vae": model.vae}.items():
        for name, weights in module.named_parameters():
            # A sum is finite but for such numbers, or for absurd ones.
            if not weights.sum().isfinite() and not weights.isfinite().all():
                raise NonFiniteLoss(
                    f"model.source: {source!r} has weights that are not finite in its {part} ({name}). Give another model, or "
                    "another copy of it."
                )
    if model.noising.config.prediction_type == "epsilon" and float(model.noising.alphas_cumprod.min()) <= 0:
        raise NonFiniteLoss(
            f"model.source: {source!r} has a scheduler whose noise schedule ends without any signal (rescale_betas_zero_snr), of "
            "which a unet that predicts noise (epsilon) can't draw. Give a model with v_prediction, or correct "
            "scheduler/scheduler_config.json."
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
