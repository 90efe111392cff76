"""The CLIP scorer, which compares pictures and texts. Loaded by `phases/evaluate.py` and by the benchmarks."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from dreambooth_api.failures import ModelUnavailable
from dreambooth_trainer import embedded
from dreambooth_trainer.models.sources import CONFIGURATION, digests_of
from dreambooth_trainer.process.storage import digest_of

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerBase

BATCH = 64
"""Pictures or texts that are embedded at once."""


@dataclass(frozen=True)
class ClipScorer:
    """A CLIP model (Radford et al., arXiv:2103.00020) on a device, in float32."""

    model: "CLIPModel"
    tokenizer: "PreTrainedTokenizerBase"
    processor: "CLIPImageProcessorPil"
    """Scales the shorter side to the model's with Pillow's antialiased bicubic filter, crops the middle, normalises."""
    text_length: int
    """Most tokens of a text that the model reads."""

    @classmethod
    def load(cls, source: str, device: torch.device) -> "ClipScorer":
        """Loads what `evaluation.encoder` names.

        Args:
            source: `embedded://name`, `hf://organisation/name`, or the path of a folder with a saved CLIP model.
            device: where the model computes.

        Raises:
            ModelUnavailable: the model does not exist, can't be downloaded or read, or is no CLIP model.
        """
        from safetensors import SafetensorError

        model_at, tokenizer_at = _locations(source)
        try:
            scorer = _load(model_at, tokenizer_at)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise _unavailable(source, error) from error
        scorer.model.to(device)
        return scorer

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights and the preprocessing, which determine the embedding of a picture."""
        sha = hashlib.sha256(json.dumps(self.processor.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            sha.update(name.encode())
            sha.update(tensor.cpu().contiguous().numpy().data)
        return sha.hexdigest()

    @torch.inference_mode()
    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Embeddings [N, D] of pictures of any size and mode, of unit length, on the CPU."""
        batches = []
        for start in range(0, len(images), BATCH):
            pictures = [image.convert("RGB") for image in images[start : start + BATCH]]
            x_BCHW = self.processor(pictures, return_tensors="pt")["pixel_values"].to(self.model.device)
            batches.append(self.model.get_image_features(x_BCHW).pooler_output)
        return normalize(torch.cat(batches), dim=1).cpu()

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [N, D] of texts, of unit length, on the CPU. Texts that are longer than the model reads are
        truncated."""
        batches = []
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            tokens = self.tokenizer(
                part, padding=True, truncation=True, max_length=self.text_length, return_tensors="pt"
            ).to(self.model.device)
            batches.append(self.model.get_text_features(tokens.input_ids, tokens.attention_mask).pooler_output)
        return normalize(torch.cat(batches), dim=1).cpu()


def digest_of_clip_scorer(source: str) -> str:
    """SHA-256 over the files of a CLIP scorer, without loading it. For a model of the hub, it is the digest of the
    commit.

    Raises:
        ModelUnavailable: the model does not exist, or can't be downloaded.
    """
    from transformers.utils import cached_file

    model_at, tokenizer_at = _locations(source)
    if not source.startswith("hf://"):
        names = (*CONFIGURATION, "*.safetensors")
        folders = {Path(model_at), Path(tokenizer_at)}
        return digest_of(
            [digests_of(folder, [path for name in names for path in folder.glob(name)]) for folder in sorted(folders)]
        )
    try:
        file = cached_file(model_at, "config.json")
    except OSError as error:
        raise _unavailable(source, error) from error
    # The hub's cache keeps each snapshot in a folder named by its commit.
    return digest_of(Path(file).parent.name)


def configuration_of_clip_scorer(source: str) -> "CLIPConfig":
    """The configuration of a CLIP scorer, without loading it.

    Raises:
        ModelUnavailable: the model does not exist, can't be downloaded, or is no CLIP model.
    """
    try:
        return _configuration(_locations(source)[0])
    except (OSError, ValueError) as error:
        raise _unavailable(source, error) from error


def _configuration(model_at: str) -> "CLIPConfig":
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_at)
    if config.model_type != "clip":
        raise ValueError(f"it is a model of type {config.model_type!r}, not 'clip'")
    return config


def _unavailable(source: str, error: Exception) -> ModelUnavailable:
    remedy = (
        "Check the name and the network, and the token in HF_TOKEN where the repository is gated"
        if source.startswith("hf://")
        else "It must hold a CLIP model and its tokenizer as save_pretrained of transformers writes them"
    )
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ModelUnavailable(f"evaluation.encoder: {source!r} can't be loaded: {reason}. {remedy}.")


def _locations(source: str) -> tuple[str, str]:
    """The places of the model and its tokenizer for transformers: folders, or the name of a hub repository."""
    scheme, _, name = source.rpartition("://")
    if scheme == "hf":
        return name, name
    if scheme == "embedded":
        try:
            folder = embedded.path(name)
        except ValueError as error:
            raise ModelUnavailable(f"evaluation.encoder: {source!r}: {error}.") from error
        return str(folder / "evaluator"), str(folder / "pipeline" / "tokenizer")
    if not Path(source).is_dir():
        raise ModelUnavailable(
            f"evaluation.encoder: {source!r} is no folder. Give the path of a folder with a CLIP model, "
            "hf://organisation/name, or embedded://emoji."
        )
    return os.path.abspath(source), os.path.abspath(source)


def _load(model_at: str, tokenizer_at: str) -> ClipScorer:
    from transformers import AutoTokenizer, CLIPModel

    config = _configuration(model_at)
    loaded: Any = CLIPModel.from_pretrained(
        model_at, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    model, information = loaded
    if information["missing_keys"]:
        raise ValueError(f"its weights lack {sorted(information['missing_keys'])[0]} and maybe more")
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_at)
    # If its files are missing, transformers creates an empty tokenizer instead of raising an error.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError("its tokenizer has no vocabulary")
    return ClipScorer(
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        processor=_processor(model_at, config.vision_config.image_size),
        text_length=config.text_config.max_position_embeddings,
    )


def _processor(model_at: str, side: int) -> "CLIPImageProcessorPil":
    """The preprocessing that was saved with the model. Without one, pictures of the model's size with values in
    -1..1."""
    from transformers import CLIPImageProcessorPil
    from transformers.utils import cached_file

    if cached_file(model_at, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False):
        return CLIPImageProcessorPil.from_pretrained(model_at)
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_mean=half, image_std=half
    )
