"""Krea 2: the tokens of the prompt and of the latents in one sequence, conditioned on hidden states of Qwen3-VL."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from diffusers.pipelines.krea2.pipeline_krea2 import Krea2Pipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from dreambooth_trainer.models.autoencoder import Autoencoder, VideoAutoencoder
from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.chat import INSTRUCTION, MASKED_PROMPTS, ChatTransformer

SUFFIX = 5
"""Tokens after the prompt and its padding, with which the answer begins."""


class Krea2(ChatTransformer):
    """A loaded Krea 2 model; implements `ModelFamily`."""

    pipeline_class: ClassVar[type[DiffusionPipeline]] = Krea2Pipeline
    autoencoder_class: ClassVar[type[Autoencoder]] = VideoAutoencoder
    guidance_offset: ClassVar[float] = 1.0
    text_lengths: ClassVar[Mapping[str, int]] = {"text_encoder": INSTRUCTION + 512 - SUFFIX}
    pipeline_arguments: ClassVar[Mapping[str, str]] = MASKED_PROMPTS

    def _message(self, prompt: str) -> str:
        return f"{self.pipeline.prompt_template_encode_prefix}{prompt}"

    def tokenize(self, prompts: Sequence[str]) -> Tensors:
        """Token ids and mask, both [B, L], of the prompts, padded to the pipeline's length, and then of the suffix."""
        padded = super().tokenize(prompts)
        suffix = self._first_tokenizer(self.pipeline.prompt_template_encode_suffix, return_tensors="pt")
        ends = {"ids": suffix.input_ids, "mask": suffix.attention_mask}
        return {
            name: torch.cat([tensor, ends[name].to(self.device).expand(len(tensor), -1)], 1)
            for name, tensor in padded.items()
        }

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of some layers without the instruction, `embeddings` [B, L, layers, D], and `mask` [B, L], true for
        the tokens of the prompt and of the suffix."""
        # Padding takes no positions. The model has three axes of them, which are the same for text.
        positions_BL = (tokens["mask"].cumsum(1) - 1).clamp(min=0)
        states = self._hidden_states(tokens, position_ids=positions_BL.expand(3, -1, -1))
        chosen = [states[layer] for layer in self.pipeline.config.text_encoder_select_layers]
        return {
            "embeddings": torch.stack(chosen, 2)[:, INSTRUCTION:],
            "mask": tokens["mask"][:, INSTRUCTION:].bool(),
        }

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The transformer's prediction, [B, C, H, W]."""
        dtype = self.denoiser.dtype
        height, width = (side // self.patch for side in z_BCHW.shape[2:])
        embeddings_BLKD = prompts["embeddings"].to(dtype)
        prediction_BND = self.denoiser(
            self._packed(z_BCHW.to(dtype)),
            timestep=t_B / 1000,
            encoder_hidden_states=embeddings_BLKD,
            position_ids=self.pipeline.prepare_position_ids(embeddings_BLKD.shape[1], height, width, self.device),
            encoder_attention_mask=prompts["mask"],
            return_dict=False,
        )[0]
        return self._unpacked(prediction_BND, height, width)
