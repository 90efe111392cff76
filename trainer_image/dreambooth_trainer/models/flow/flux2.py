"""FLUX.2 klein: latents in squares of 2 x 2 that are normalised by the autoencoder's statistics, conditioned on hidden states
of Qwen3."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.model import FlowTransformer

HIDDEN_LAYERS = (9, 18, 27)
"""Layers of the text encoder whose hidden states are the conditioning. The pipeline's default, which the models were trained
for."""


class Flux2Klein(FlowTransformer):
    """A loaded FLUX.2 klein base model; implements `ModelFamily`."""

    pipeline_class: ClassVar[type[DiffusionPipeline]] = Flux2KleinPipeline
    rounded_parts: ClassVar[Sequence[str]] = ("text_encoder",)
    word_prefix: ClassVar[str] = "Ġ"

    def tokenize(self, prompts: Sequence[str]) -> Tensors:
        """Token ids and mask, both [B, L], of the prompts as messages of a chat, padded to the pipeline's length."""
        encoded = self._first_tokenizer(
            [self._message(prompt) for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=self.pipeline.tokenizer_max_length,
            return_tensors="pt",
        )
        return {"ids": encoded.input_ids.to(self.device), "mask": encoded.attention_mask.to(self.device)}

    def _message(self, prompt: str) -> str:
        return str(
            self._first_tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
        )

    def _prompt_tokens(self) -> int:
        return int(self.pipeline.tokenizer_max_length) - len(self.words_to_ids(self._message("")))

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of three layers, `embeddings` [B, L, 3 D], also of the padding, which the denoiser doesn't mask."""
        # Without the head, which would compute a number for each word of the vocabulary.
        output = self.text_encoders["text_encoder"].model(
            input_ids=tokens["ids"], attention_mask=tokens["mask"], output_hidden_states=True, use_cache=False
        )
        return {"embeddings": torch.cat([output.hidden_states[layer] for layer in HIDDEN_LAYERS], dim=-1)}

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The transformer's prediction, [B, C, H, W]."""
        dtype = next(self.denoiser.parameters()).dtype
        height, width = z_BCHW.shape[2:]
        embeddings_BLD = prompts["embeddings"].to(dtype)
        prediction_BND = self.denoiser(
            z_BCHW.to(dtype).flatten(2).transpose(1, 2),
            timestep=t_B / 1000,
            encoder_hidden_states=embeddings_BLD,
            # Axes of the grid: picture, row, column, place in the text.
            img_ids=self._positions(1, height, width, 1),
            txt_ids=self._positions(1, 1, 1, embeddings_BLD.shape[1]),
            return_dict=False,
        )[0]
        return prediction_BND.transpose(1, 2).unflatten(2, (height, width))

    def _scaled(self, latents_BCHW: Tensor, *, is_deviation: bool = False) -> Tensor:
        mean, std = self._statistics()
        z_BCHW = pixel_unshuffle(latents_BCHW, self.patch)
        return (z_BCHW if is_deviation else z_BCHW - mean) / std

    def _unscaled(self, z_BCHW: Tensor) -> Tensor:
        mean, std = self._statistics()
        return pixel_shuffle(z_BCHW * std + mean, self.patch)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, [C, 1, 1]."""
        norm = self.vae.bn
        variance = norm.running_var + self.vae.config.batch_norm_eps
        return norm.running_mean[:, None, None], variance.sqrt()[:, None, None]

    def _from_pipeline(self, latents: Tensor, height: int, width: int) -> Tensor:
        return self._scaled(latents)
