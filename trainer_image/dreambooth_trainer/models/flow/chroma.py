"""Chroma: FLUX.1 [schnell] without distillation and without CLIP; the padding of prompts is masked except for one token."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from diffusers.models.transformers.transformer_chroma import ChromaSingleTransformerBlock
from diffusers.pipelines.chroma.pipeline_chroma import ChromaPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.flux1 import Flux1


class Chroma(Flux1):
    """A loaded Chroma model; implements `ModelFamily`.

    Masks are boolean. diffusers 0.42 gives its transformer masks of zeros and ones, which attention adds to its logits, so
    that nothing is masked (https://github.com/huggingface/diffusers/issues/13619).
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]] = ChromaPipeline
    text_parts: ClassVar[Sequence[str]] = ("text_encoder",)
    text_lengths: ClassVar[Mapping[str, int]] = {"text_encoder": 512}
    rounded_parts: ClassVar[Sequence[str]] = text_parts
    pipeline_arguments: ClassVar[Mapping[str, str]] = {
        "embeddings": "prompt_embeds",
        "mask": "prompt_attention_mask",
    }

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of T5, `embeddings` [B, L, D], and `mask` [B, L], true for the tokens of the prompt and one more."""
        ids_BL = tokens["text_encoder"]
        has_text_BL = ids_BL != self._first_tokenizer.pad_token_id
        place_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        return {
            "embeddings": self.text_encoders["text_encoder"](ids_BL, attention_mask=has_text_BL).last_hidden_state,
            "mask": place_L <= has_text_BL.sum(1, keepdim=True),
        }

    def _further_conditioning(self, prompts: Tensors, tokens_BND: Tensor) -> Tensors:
        """A mask of the tokens of the prompt and of the picture."""
        mask_BN = pad(prompts["mask"], (0, tokens_BND.shape[1]), value=True)
        if self.denoiser.gradient_checkpointing:
            self.denoiser.enable_gradient_checkpointing(partial(_checkpoint, mask_BN))
        return {"attention_mask": mask_BN}


def _checkpoint(mask_BN: Tensor, block: nn.Module, *inputs: Any) -> Any:
    """Checkpoints a block. The transformer leaves out the mask for single-stream blocks."""
    masked = partial(block, attention_mask=mask_BN) if isinstance(block, ChromaSingleTransformerBlock) else block
    return checkpoint(masked, *inputs, use_reentrant=False)
