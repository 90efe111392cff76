"""Stable Diffusion 3 and 3.5 (Esser et al., arXiv:2403.03206): conditioned on hidden states and pooled embeddings of two CLIP
text encoders, and on hidden states of T5."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from torch import Tensor
from torch.nn.functional import pad

from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.model import FlowTransformer


class StableDiffusion3(FlowTransformer):
    """A loaded Stable Diffusion 3 model; implements `ModelFamily`.

    Identifiers come from CLIP's tokenizer, which two of the text encoders use.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusion3Pipeline
    density: ClassVar[Literal["uniform", "logit-normal"]] = "logit-normal"
    text_parts: ClassVar[Sequence[str]] = ("text_encoder", "text_encoder_2", "text_encoder_3")
    text_lengths: ClassVar[Mapping[str, int]] = {"text_encoder_3": 256}
    rounded_parts: ClassVar[Sequence[str]] = ("text_encoder_3",)
    without: ClassVar[Mapping[str, Any]] = {"feature_extractor": None, "image_encoder": None}
    pipeline_arguments: ClassVar[Mapping[str, str]] = {
        "embeddings": "prompt_embeds",
        "pooled": "pooled_prompt_embeds",
    }
    unread_layers: ClassVar[Sequence[str]] = ("attn.add_q_proj", "attn.norm_added_q")
    word_suffix: ClassVar[str] = "</w>"

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states, those of CLIP filled up with zeros to the width of T5's, `embeddings` [B, L1 + L3, D3], and the
        projections of the whole prompt by both CLIP encoders, `pooled` [B, D1 + D2]."""
        *clip, t5 = self.text_parts
        outputs = [self.text_encoders[name](tokens[name], output_hidden_states=True) for name in clip]
        clip_BLD = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        t5_BLD = self.text_encoders[t5](tokens[t5]).last_hidden_state
        widened_BLD = pad(clip_BLD, (0, t5_BLD.shape[-1] - clip_BLD.shape[-1]))
        return {
            "embeddings": torch.cat([widened_BLD, t5_BLD], dim=1),
            "pooled": torch.cat([output.text_embeds for output in outputs], dim=-1),
        }

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The transformer's prediction, [B, C, H, W]."""
        dtype = next(self.denoiser.parameters()).dtype
        prediction_BCHW = self.denoiser(
            z_BCHW.to(dtype),
            timestep=t_B,
            encoder_hidden_states=prompts["embeddings"].to(dtype),
            pooled_projections=prompts["pooled"].to(dtype),
            return_dict=False,
        )[0]
        return cast(Tensor, prediction_BCHW)
