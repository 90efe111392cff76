"""CLIP's tokenizer, from the files of a base model that is on this machine.

The command line checks prompts with it: transformers, which the trainer uses, takes seconds to import. Needs the library
tokenizers, on which transformers is built.
"""

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreambooth_api.model_files import pipeline_of
from dreambooth_api.prompts import read_length
from dreambooth_api.training import Model
from dreambooth_trainer import embedded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PIPELINES = {"StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline"}
"""Pipelines whose first text encoder is CLIP. Those of the others read at least 512 tokens."""

END_OF_WORD, END_OF_TEXT = "</w>", "<|endoftext|>"

PIECES = r"'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What CLIP's tokenizer never merges with its neighbours: endings, words, digits, and groups of other characters."""

SPECIAL_TOKENS = 2
"""Tokens of the length that mark the beginning and the end of a prompt."""


class ClipTokenizer:
    """A tokenizer with the methods of `ModelFamily` that need nothing else of the model."""

    def __init__(self, tokenizer: "Tokenizer", length: int) -> None:
        """Takes the tokenizer, and how many tokens the text encoder reads."""
        self._tokenizer = tokenizer
        self._length = length

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Words that are one token, and their ids."""
        tokens = self._tokenizer.get_vocab().items()
        return {token.removesuffix(END_OF_WORD): index for token, index in tokens if token.endswith(END_OF_WORD)}

    def words_to_ids(self, text: str) -> list[int]:
        """Token ids of a text without the special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def read_length(self, prompt: str) -> int:
        """How many characters of a prompt, from its beginning, the text encoder reads."""
        spans = self._tokenizer.encode(prompt, add_special_tokens=False).offsets
        return read_length(prompt, spans, self._length - SPECIAL_TOKENS)


def tokenizer_at_hand(model: Model) -> ClipTokenizer | None:
    """The tokenizer of a base model; None if its first text encoder is not CLIP, if it is not on this machine, or if a
    library is missing."""
    try:
        folder = _folder_at_hand(model)
        if folder is None or pipeline_of(folder) not in PIPELINES:
            return None
        length = _length(folder)
        return ClipTokenizer(_tokenizer(folder / "tokenizer"), length) if length else None
    # What is wrong with the files is reported when the model is loaded. The library raises bare exceptions.
    except Exception:
        return None


def _folder_at_hand(model: Model) -> Path | None:
    """The folder with the configuration of a model."""
    scheme, separator, name = model.source.partition("://")
    if scheme == "embedded":
        return embedded.path(name) / "pipeline"
    if scheme == "hf":
        return _downloaded(name, model.revision)
    if separator:
        return None
    path = Path(model.source)
    if path.is_dir():
        return path
    if model.config is None:
        return None
    return Path(model.config) if Path(model.config).exists() else _downloaded(model.config, None)


def _downloaded(repository: str, revision: str | None) -> Path | None:
    """The snapshot of a hub repository, if an earlier run has downloaded it."""
    from huggingface_hub import try_to_load_from_cache

    index = try_to_load_from_cache(repository, "model_index.json", revision=revision)
    return Path(index).parent if isinstance(index, str) else None


def _length(folder: Path) -> int | None:
    """Tokens of a prompt that the text encoder reads, special ones included; None if the files don't say."""
    lengths = [
        _read(folder / "tokenizer" / "tokenizer_config.json").get("model_max_length"),
        _read(folder / "text_encoder" / "config.json").get("max_position_embeddings"),
    ]
    return min((int(length) for length in lengths if length), default=None)


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return content


def _tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    vocabulary, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=END_OF_WORD, unk_token=END_OF_TEXT))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    pieces = pre_tokenizers.Split(Regex(PIECES), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer
