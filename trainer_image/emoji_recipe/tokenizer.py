"""A CLIP tokenizer of 3,000 entries, trained on the words of emoji.

`prepare` trains it, and the trainings load it. A small vocabulary keeps the text encoder small. It still has over a
hundred three-letter words that no caption contains: the rare identifiers that DreamBooth binds to a subject.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from emoji_recipe.drawings import About
from emoji_recipe.vocabulary import CLASSES, COLOURS, STYLES

ENTRIES = 3000
LENGTH = 24
"""Tokens of a caption, with start and end."""

_COMMON_WORDS = (
    "a an in on the of with next to style background beach grass snow night sky under water desert sunset "
    "photo picture drawing small large two and made wearing"
)
_EMPHASIS = 50
"""Number of repetitions of the words of captions, so that each becomes one token."""


def train(emoji: list[dict[str, Any]], about: list[About]) -> CLIPTokenizer:
    """Learns byte-pair merges from Emojibase's labels and tags, the drawings' labels and the words of captions.

    Ties are broken at random: each training gives the same words, but with different ids.
    """
    # An empty CLIP tokenizer splits and normalises like the finished one, so it also prepares the words here.
    stock = CLIPTokenizer().backend_tokenizer
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    bpe.normalizer, bpe.pre_tokenizer = stock.normalizer, stock.pre_tokenizer
    learner = trainers.BpeTrainer(
        vocab_size=ENTRIES,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        end_of_word_suffix="</w>",
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        min_frequency=1,
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(emoji, about), learner)
    learnt = json.loads(bpe.to_str())["model"]
    merges: Any = [tuple(merge) for merge in learnt["merges"]]  # CLIPTokenizer's annotation is too narrow
    return CLIPTokenizer(vocab=learnt["vocab"], merges=merges, model_max_length=LENGTH)


def load(data: Path) -> CLIPTokenizer:
    """Reads the tokenizer that `prepare` wrote."""
    return CLIPTokenizer.from_pretrained(data / "tokenizer")


def _corpus(emoji: list[dict[str, Any]], about: list[About]) -> Iterable[str]:
    yield from (" ".join([entry["label"], *entry.get("tags", [])]).lower() for entry in emoji)
    yield from [" ".join([_COMMON_WORDS, *COLOURS, *CLASSES, *STYLES.values()])] * _EMPHASIS
    yield from (f"a {each.label}" for each in about)
