"""FLUX.2 klein: latents in squares of 2 x 2 that are normalised by the autoencoder's statistics, conditioned on hidden states
of Qwen3."""

from typing import ClassVar

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from dreambooth_trainer.models.autoencoder import Autoencoder, PatchedAutoencoder
from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.chat import ChatTransformer

HIDDEN_LAYERS = (9, 18, 27)
"""Layers of the text encoder whose hidden states are the conditioning. The pipeline's default, which the models were trained
for."""


class Flux2Klein(ChatTransformer):
    """A loaded FLUX.2 klein base model; implements `ModelFamily`."""

    pipeline_class: ClassVar[type[DiffusionPipeline]] = Flux2KleinPipeline
    autoencoder_class: ClassVar[type[Autoencoder]] = PatchedAutoencoder

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of three layers, `embeddings` [B, L, 3 D], also of the padding, which the denoiser doesn't mask."""
        states = self._hidden_states(tokens)
        return {"embeddings": torch.cat([states[layer] for layer in HIDDEN_LAYERS], dim=-1)}

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

    def _from_pipeline(self, latents: Tensor, height: int, width: int) -> Tensor:
        return self.autoencoder.scaled(latents)
