"""What the files of a model on this machine tell before anything of it is loaded: whether it is one that can be personalised.

Called by `validation.py` and by the loader of models. Reads configurations and headers, no weights. Of a file that is missing or
can't be read nothing is said here: the loader knows what it needs.
"""

import json
from pathlib import Path
from typing import Any

PIPELINES = {"StableDiffusionPipeline": ("scheduler", "text_encoder", "tokenizer", "unet", "vae")}
"""Pipelines of diffusers that can be personalised, and the folders that are read of them."""

LATENT_CHANNELS = 4
"""What a denoiser takes; more are a mask or a picture that it shall complete or change."""

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
"""First layer of the denoiser in a single-file checkpoint."""

LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def why_no_base_model(path: Path) -> str | None:
    """Why the folder or file of a base model can't be used; None where nothing speaks against it."""
    return _of_file(path) if path.is_file() else _of_folder(path)


def why_no_encoder(path: Path) -> str | None:
    """Why the folder of an evaluation's encoder can't be used; None where nothing speaks against it."""
    if not path.is_dir():
        return "is no folder"
    kind = _read(path / "config.json").get("model_type")
    return None if kind in (None, "clip") else f"is a model of type {kind!r}, not 'clip'"


def _of_folder(path: Path) -> str | None:
    kind = _read(path / "model_index.json").get("_class_name")
    if kind is None:
        return None
    if kind not in PIPELINES:
        return f"is a {kind}, and no other than {', '.join(PIPELINES)} is known"
    if missing := [name for name in PIPELINES[kind] if not (path / name).is_dir()]:
        return f"lacks {', '.join(missing)}"
    return _conditioned(_read(path / "unet" / "config.json").get("in_channels"))


def _of_file(path: Path) -> str | None:
    if path.suffix != ".safetensors":
        return "is not a .safetensors file, and other formats can run code"
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= LONGEST_HEADER else None
    except (OSError, ValueError):
        header = None
    if not isinstance(header, dict):
        return "has no header of the format safetensors; it may be damaged"
    layer = header.get(FIRST_LAYER)
    shape = layer.get("shape") if isinstance(layer, dict) else None
    return _conditioned(shape[1] if isinstance(shape, list) and len(shape) > 1 else None)


def _conditioned(channels: Any) -> str | None:
    if channels in (None, LATENT_CHANNELS):
        return None
    kind = "an inpainting model" if channels == 9 else "a model that is given a picture beside the prompt"
    return f"has a UNet of {channels} input channels, not {LATENT_CHANNELS}: it is {kind}, which can't be personalised"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
