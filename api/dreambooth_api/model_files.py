"""Finds out from a model's files, before it is loaded, which pipeline it is and whether it can be personalised.

Called by `validation.py` and by the loader of models. Reads configurations and headers, no weights. Files that are
missing or can't be read are left to the loader.
"""

import json
from pathlib import Path
from typing import Any

from dreambooth_api.model_families import FAMILIES, Family

LATENT_CHANNELS = 4
"""Input channels of a UNet. Models with more also take a mask or a picture."""

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
"""First layer of the denoiser in a single-file checkpoint."""

OPEN_CLIP_OF_SDXL = "conditioner.embedders.1.model.positional_embedding"
"""A tensor of the second text encoder in a single-file checkpoint of SDXL."""

OPEN_CLIP_OF_REFINER = "conditioner.embedders.0.model.positional_embedding"
"""A tensor of the only text encoder in a single-file checkpoint of the SDXL refiner."""

LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors format."""


def pipeline_of(path: Path) -> str:
    """Name of the pipeline that loads a folder or single-file checkpoint; Stable Diffusion's if the files don't say."""
    if path.is_file():
        return "StableDiffusionXLPipeline" if OPEN_CLIP_OF_SDXL in (_header(path) or {}) else "StableDiffusionPipeline"
    name = _read(path / "model_index.json").get("_class_name")
    return name if isinstance(name, str) else "StableDiffusionPipeline"


def family_of(path: Path) -> Family | None:
    """Family of a folder or single-file checkpoint; None for a pipeline that can't be personalised."""
    return FAMILIES.get(pipeline_of(path))


def why_no_base_model(path: Path) -> str | None:
    """Reason why the folder or file of a base model can't be used; None if there is none."""
    return _of_file(path) if path.is_file() else _of_folder(path)


def why_no_encoder(path: Path) -> str | None:
    """Reason why the folder of an evaluation's CLIP model can't be used; None if there is none."""
    if not path.is_dir():
        return "is no folder"
    kind = _read(path / "config.json").get("model_type")
    return None if kind in (None, "clip") else f"is a model of type {kind!r}, not 'clip'"


def _of_folder(path: Path) -> str | None:
    index = _read(path / "model_index.json")
    kind = index.get("_class_name")
    if kind is None:
        return None
    family = FAMILIES.get(kind)
    if family is None:
        return f"is a {kind}, which is not supported. Supported are {', '.join(FAMILIES)}"
    if family.distilled_from and _is_distilled(path, index, family):
        return f"is distilled to few steps, which training undoes. Give the base model: {family.distilled_from}"
    if missing := [name for name in family.folders if not (path / name).is_dir()]:
        return f"lacks {', '.join(missing)}"
    return _conditioned(_read(path / "unet" / "config.json").get("in_channels"))


def _is_distilled(path: Path, index: dict[str, Any], family: Family) -> bool:
    denoiser = _read(path / family.denoiser / "config.json")
    shift = _read(path / "scheduler" / "scheduler_config.json").get("shift")
    return (
        bool(index.get("is_distilled"))
        or (family.embeds_guidance and denoiser.get("guidance_embeds") is False)
        or (family.distilled_shift is not None and shift == family.distilled_shift)
    )


def _of_file(path: Path) -> str | None:
    if path.suffix != ".safetensors":
        return "is not a .safetensors file, and other formats can run code"
    header = _header(path)
    if header is None:
        return "has no header of the format safetensors; it may be damaged"
    if OPEN_CLIP_OF_REFINER in header:
        return "is the SDXL refiner, which only finishes pictures. Give the SDXL base model"
    layer = header.get(FIRST_LAYER)
    shape = layer.get("shape") if isinstance(layer, dict) else None
    return _conditioned(shape[1] if isinstance(shape, list) and len(shape) > 1 else None)


def _header(path: Path) -> dict[str, Any] | None:
    """Header of a .safetensors file; None if it can't be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= LONGEST_HEADER else None
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) else None


def _conditioned(channels: Any) -> str | None:
    if channels in (None, LATENT_CHANNELS):
        return None
    kind = "an inpainting model" if channels == 9 else "a model that also takes a picture"
    return f"has a UNet of {channels} input channels, not {LATENT_CHANNELS}: it is {kind}, which can't be personalised"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
