"""Z-Image (arXiv:2511.22699): latents and the tokens of the prompt in one sequence, conditioned on hidden states of Qwen3."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from torch import Tensor

from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.chat import MASKED_PROMPTS, ChatTransformer


class ZImage(ChatTransformer):
    """A loaded Z-Image model; implements `ModelFamily`.

    Its transformer takes lists of pictures and of prompts without padding. Its time is 1 for clean latents and 0 for noise,
    and its prediction points to the clean latents.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]] = ZImagePipeline
    fixed_shapes: ClassVar[bool] = False
    thinking: ClassVar[bool] = True
    guidance_offset: ClassVar[float] = 1.0
    pipeline_arguments: ClassVar[Mapping[str, str]] = MASKED_PROMPTS

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of the last layer but one, `embeddings` [B, L, D], and `mask` [B, L], true for the tokens of the
        prompt."""
        return {"embeddings": self._hidden_states(tokens)[-2], "mask": tokens["mask"].bool()}

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The velocity from the clean latents to the noise, [B, C, H, W]: the negated prediction of the transformer."""
        dtype = next(self.denoiser.parameters()).dtype
        predictions = self.denoiser(
            # Pictures are videos of one frame.
            list(z_BCHW.to(dtype).unsqueeze(2)),
            1 - t_B / 1000,
            _without_padding(prompts["embeddings"].to(dtype), prompts.get("mask")),
            return_dict=False,
        )[0]
        return -torch.stack(predictions).squeeze(2)

    def _pipeline_conditioning(self, prompts: Sequence[str], negative_prompt: str, guided: bool) -> dict[str, Any]:
        padded = super()._pipeline_conditioning(prompts, negative_prompt, guided)
        names = ("prompt_embeds", "negative_prompt_embeds") if guided else ("prompt_embeds",)
        return {name: _without_padding(padded[name], padded[f"{name}_mask"]) for name in names}


def _without_padding(embeddings_BLD: Tensor, mask_BL: Tensor | None) -> list[Tensor]:
    """The embeddings of each prompt, [tokens, D]; without a mask there is no padding."""
    if mask_BL is None:
        return list(embeddings_BLD)
    return list(embeddings_BLD[mask_BL].split(mask_BL.sum(1).tolist()))
