"""What can be done with the base models of each family, by the pipeline of diffusers that loads them.

Called by `validation.py` for models on the disk, and by the trainer for all others, before their weights are downloaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dreambooth_api.failures import Problem
from dreambooth_api.fields import Fields


@dataclass(frozen=True)
class Family:
    """The base models that one pipeline loads."""

    name: str
    """Its name for people."""
    folders: tuple[str, ...]
    """Folders of the pipeline that are read."""
    denoiser: str
    """The folder of the denoiser."""
    trains_text_encoders: bool = True
    """Whether `training.trainTextEncoder` is possible."""
    has_min_snr: bool = True
    """Whether `training.minSnrGamma` is defined for its process of noise."""
    exports_float32: bool = True
    """Whether exported weights are float32. Else they have the number format of the arithmetic: the models of the family are
    published in such a format, and twice its size may not fit the device."""
    formats: tuple[str, ...] = ("diffusers", "single-file", "comfyui")
    """Values of `output.formats` that are possible."""
    distilled_from: str = ""
    """The base model, for a pipeline whose models may be distilled to few steps."""
    distilled_shift: float | None = None
    """The scheduler's shift of noise levels by which distilled models are known, if nothing else in their files says so."""
    embeds_guidance: bool = False
    """Whether the guidance scale is an input of the denoiser: there is no negative prompt. Models without this input are
    distilled to few steps."""


STABLE_DIFFUSION = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")


def _flow(name: str, *further: str, **traits: Any) -> Family:
    """A family of transformers that were trained by flow matching, with further folders for its other text encoders."""
    return Family(
        name,
        ("scheduler", "text_encoder", "tokenizer", "transformer", "vae", *further),
        "transformer",
        trains_text_encoders=False,
        has_min_snr=False,
        exports_float32=False,
        formats=("diffusers",),
        **traits,
    )


SECOND, THIRD = ("text_encoder_2", "tokenizer_2"), ("text_encoder_3", "tokenizer_3")
FAMILIES = {
    "StableDiffusionPipeline": Family("Stable Diffusion", STABLE_DIFFUSION, "unet"),
    "StableDiffusionXLPipeline": Family("SDXL", (*STABLE_DIFFUSION, *SECOND), "unet"),
    "Flux2KleinPipeline": _flow("FLUX.2 klein", distilled_from="FLUX.2-klein-base-4B or FLUX.2-klein-base-9B"),
    "StableDiffusion3Pipeline": _flow("Stable Diffusion 3.5", *SECOND, *THIRD),
    "FluxPipeline": _flow("FLUX.1", *SECOND, distilled_from="FLUX.1-dev", embeds_guidance=True),
    "ChromaPipeline": _flow("Chroma"),
    "ZImagePipeline": _flow("Z-Image", distilled_from="Z-Image", distilled_shift=3),
    "QwenImagePipeline": _flow("Qwen-Image"),
    "Krea2Pipeline": _flow("Krea 2", distilled_from="Krea-2-Raw"),
}
"""Families whose models can be personalised, by the `_class_name` in `model_index.json`."""


def find_unsupported(family: Family, fields: Fields) -> Iterator[Problem]:
    """Settings that the models of a family don't support."""
    if fields.get("training.trainTextEncoder") and not family.trains_text_encoders:
        yield _problem(family, "training.trainTextEncoder", True, "Set it to false")
    gamma = fields.get("training.minSnrGamma")
    if gamma is not None and not family.has_min_snr:
        yield _problem(family, "training.minSnrGamma", gamma, "Remove it")
    for index, chosen in enumerate(fields.get("output.formats") or ()):
        if chosen not in family.formats:
            yield _problem(family, f"output.formats[{index}]", chosen, f"Choose {' or '.join(family.formats)}")


def _problem(family: Family, field: str, value: Any, remedy: str) -> Problem:
    return Problem(f"spec.{field}", value, f"is not supported for {family.name}", remedy)
