"""Conditioning on any number of prompts: text encoders read them in passes, whose memory grows with their tokens."""

from collections.abc import Iterator

import torch

from dreambooth_trainer.models.base import ModelFamily, Tensors

TOKENS_AT_ONCE = 64 * 77
"""Tokens of a pass with more than one prompt: 64 prompts of the length that CLIP reads, or 9 of 512 tokens. A pass of a
language model keeps the hidden states of all its layers."""


def passes(tokens: Tensors) -> Iterator[Tensors]:
    """Tokenised prompts for each pass.

    Args:
        tokens: rows of `tokenize`.
    """
    longest = max(of_prompts[0].numel() for of_prompts in tokens.values())
    prompts = max(1, TOKENS_AT_ONCE // longest)
    for parts in zip(*(of_prompts.split(prompts) for of_prompts in tokens.values()), strict=True):
        yield dict(zip(tokens, parts, strict=True))


@torch.no_grad()
def conditioning_on(model: ModelFamily, tokens: Tensors) -> Tensors:
    """Conditioning on tokenised prompts by frozen text encoders.

    Args:
        model: the model.
        tokens: rows of `tokenize`.
    """
    with model.encoding():
        encoded = [model.encode_prompts(part) for part in passes(tokens)]
    return {name: torch.cat([one[name] for one in encoded]) for name in encoded[0]}
