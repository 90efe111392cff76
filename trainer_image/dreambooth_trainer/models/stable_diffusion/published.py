"""The folder layout of the Stable Diffusion and SDXL releases, which all versions of the libraries and other
programs read.

Libraries rename their modules and merge the files of a tokenizer from version to version, and only newer versions load
the files that a library saves itself. Called by the export of Stable Diffusion, and by the recipe of the embedded
model.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

Part = TypeVar("Part")

TEXT_MODEL = "text_model."
"""Prefix of a text encoder's tensors. The module itself has this prefix in some versions of transformers only."""

TEXT_PROJECTION = "text_projection."
"""Prefix of the only tensor of a text encoder outside of `text_model`."""

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Writes a pipeline for `from_pretrained`."""
    save_configuration(pipeline, folder)
    for name in ("unet", "vae"):
        getattr(pipeline, name).save_pretrained(folder / name)
    for name, text_encoder in _parts(pipeline, PreTrainedModel):
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in text_tensors(text_encoder).items()}
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})


def save_configuration(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Writes a pipeline's configuration and tokenizers without weights."""
    pipeline.save_config(folder)
    for name in ("unet", "vae", "scheduler"):
        getattr(pipeline, name).save_config(folder / name)
    for name, text_encoder in _parts(pipeline, PreTrainedModel):
        text_encoder.config.save_pretrained(folder / name)
    for name, tokenizer in _parts(pipeline, CLIPTokenizer):
        save_tokenizer(tokenizer, folder / name)


def _parts(pipeline: DiffusionPipeline, kind: type[Part]) -> Iterator[tuple[str, Part]]:
    """Names and parts of one class."""
    return ((name, part) for name, part in pipeline.components.items() if isinstance(part, kind))


def text_tensors(text_encoder: PreTrainedModel) -> dict[str, Tensor]:
    """A text encoder's tensors under their published names."""
    return {text_name(name): tensor for name, tensor in text_encoder.state_dict().items()}


def text_name(name: str) -> str:
    """The published name of a tensor or layer of a text encoder."""
    return name if name.startswith((TEXT_MODEL, TEXT_PROJECTION)) else TEXT_MODEL + name


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes a tokenizer as `vocab.json`, `merges.txt` and two files about its special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    words = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    _write_json(folder / "vocab.json", dict(sorted(words["vocab"].items(), key=lambda entry: entry[1])))
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in words["merges"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    special = {name: token for name, token in tokenizer.special_tokens_map.items() if name in SPECIAL_TOKENS}
    _write_json(folder / "special_tokens_map.json", special)
    added = {index: token.__getstate__() for index, token in sorted(tokenizer.added_tokens_decoder.items())}
    settings = {
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        **special,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": tokenizer.model_max_length,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
