"""Small tokenizers, text encoders and autoencoders that the flow-matching families share, with random weights."""

from collections.abc import Iterable, Sequence
from functools import cache
from string import ascii_lowercase
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", CLIPTextModel, CLIPTextModelWithProjection)

TEXT = "a an the dog cat bird car flower tree shoe guitar train on in at of and with beach snow grass night zqx qzv"
"""Text of which each word becomes a token."""

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
"""The characters that stand for the 256 bytes."""

WIDTH = 16
"""Numbers of a CLIP embedding."""


def enlarge(module: M, growth: float) -> M:
    """Of the usual size, random weights hardly let a prompt matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.mul_(growth)
    return module


def byte_pairs(
    beginning: Sequence[str], words: Iterable[str], **suffix: str
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary, and merges of byte pairs that make each word one token.

    Of equally frequent pairs a training would choose a random one: models would differ from process to process.

    Args:
        beginning: the first tokens, among them all letters.
        words: the words.
        suffix: `end_of_word_suffix`, a mark at the end of a word, if there is one.
    """
    vocabulary, merges = list(beginning), list[tuple[str, str]]()

    def pieces(word: str) -> list[str]:
        ids = {piece: index for index, piece in enumerate(vocabulary)}
        return Tokenizer(models.BPE(vocab=ids, merges=merges, **suffix)).encode(word).tokens

    for word in words:
        while len(parts := pieces(word)) > 1:
            merges.append((parts[0], parts[1]))
            vocabulary.append(parts[0] + parts[1])
    return {piece: index for index, piece in enumerate(vocabulary)}, merges


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """A tokenizer of CLIP's kind, whose words end with a mark."""
    beginning = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    vocabulary, merges = byte_pairs(beginning, TEXT.split(), end_of_word_suffix="</w>")
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def clip_encoder(kind: type[C]) -> C:
    """A text encoder of CLIP's kind."""
    tokenizer = clip_tokenizer()
    configuration = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=77,
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return enlarge(kind(configuration), 10)


def t5_tokenizer() -> T5Tokenizer:
    """A tokenizer of T5's kind: pieces of SentencePiece, of which those that begin a word have its mark."""
    words = [(f"▁{word}", -1 - rank / 100) for rank, word in enumerate(TEXT.split())]
    letters = [(letter, -9.0) for letter in ("▁", *ascii_lowercase)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *words, *letters], extra_ids=0, model_max_length=512)


def t5_encoder(width: int) -> T5EncoderModel:
    """A text encoder of T5's kind.

    Args:
        width: numbers of an embedding.
    """
    return T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer()),
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def autoencoder(**settings: Any) -> AutoencoderKL:
    """An autoencoder with four latent channels, one for each 8 x 8 pixels."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        **settings,
    )


def shifted_autoencoder() -> AutoencoderKL:
    """An autoencoder whose latents have a scale and a shift."""
    return autoencoder(
        layers_per_block=1,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
