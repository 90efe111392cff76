"""FLUX.1 [dev] (Black Forest Labs, 2024): conditioned on hidden states of T5, on CLIP's pooled embedding of the prompt, and on
the guidance scale that the model was distilled for."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.model import FlowTransformer


class Flux1(FlowTransformer):
    """A loaded FLUX.1 model; implements `ModelFamily`.

    Identifiers come from T5's tokenizer: only T5 gives an embedding of each token.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]] = FluxPipeline
    text_parts: ClassVar[Sequence[str]] = ("text_encoder_2", "text_encoder")
    text_lengths: ClassVar[Mapping[str, int]] = {"text_encoder_2": 512}
    rounded_parts: ClassVar[Sequence[str]] = ("text_encoder_2",)
    without: ClassVar[Mapping[str, Any]] = {"feature_extractor": None, "image_encoder": None}
    pipeline_arguments: ClassVar[Mapping[str, str]] = {
        "embeddings": "prompt_embeds",
        "pooled": "pooled_prompt_embeds",
    }
    word_prefix: ClassVar[str] = "▁"

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of T5, `embeddings` [B, L, D], also of the padding, which the denoiser doesn't mask, and CLIP's
        hidden state of the end of the prompt, `pooled` [B, D1]."""
        t5, clip = self.text_parts
        return {
            "embeddings": self.text_encoders[t5](tokens[t5]).last_hidden_state,
            "pooled": self.text_encoders[clip](tokens[clip]).pooler_output,
        }

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The transformer's prediction, [B, C, H, W]."""
        dtype = next(self.denoiser.parameters()).dtype
        height, width = (side // self.patch for side in z_BCHW.shape[2:])
        embeddings_BLD = prompts["embeddings"].to(dtype)
        tokens_BND = self._packed(z_BCHW.to(dtype))
        prediction_BND = self.denoiser(
            tokens_BND,
            timestep=t_B / 1000,
            encoder_hidden_states=embeddings_BLD,
            img_ids=self._positions(1, height, width),
            txt_ids=self._positions(1, 1, 1).expand(embeddings_BLD.shape[1], -1),
            **self._further_conditioning(prompts, tokens_BND),
            return_dict=False,
        )[0]
        return self._unpacked(prediction_BND, height, width)

    def _further_conditioning(self, prompts: Tensors, tokens_BND: Tensor) -> Tensors:
        """What the transformer takes in addition to the latents and the hidden states of the text encoder.

        The guidance scale is 1: the target comes from single pictures, as without guidance.
        """
        pooled_BD = prompts["pooled"].to(tokens_BND.dtype)
        return {"pooled_projections": pooled_BD, "guidance": pooled_BD.new_ones(len(pooled_BD))}

    def _pipeline_conditioning(self, prompts: Sequence[str], negative_prompt: str, guided: bool) -> dict[str, Any]:
        # A transformer that takes the guidance scale predicts once in each step.
        return super()._pipeline_conditioning(prompts, negative_prompt, guided and not self.family().embeds_guidance)
