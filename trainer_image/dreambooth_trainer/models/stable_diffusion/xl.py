"""SDXL (Podell et al., arXiv:2307.01952): two text encoders, pooled embeddings, and conditioning on an image's framing."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

from dreambooth_trainer.models.base import Framing, Tensors
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """A loaded SDXL model; implements `ModelFamily`."""

    pipeline_class: ClassVar[type[DiffusionPipeline]] = StableDiffusionXLPipeline
    text_parts: ClassVar[Sequence[str]] = ("text_encoder", "text_encoder_2")
    without: ClassVar[Mapping[str, Any]] = {"feature_extractor": None, "image_encoder": None, "add_watermarker": False}
    pipeline_arguments: ClassVar[Mapping[str, str]] = {
        "embeddings": "prompt_embeds",
        "pooled": "pooled_prompt_embeds",
    }

    def tokenize(self, prompts: Sequence[str]) -> Tensors:
        """Token ids [B, L] for each text encoder, and `has_text` [B], false for empty prompts."""
        has_text_B = torch.tensor([bool(prompt) for prompt in prompts], device=self.device)
        return {**super().tokenize(prompts), "has_text": has_text_B}

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states before the last layer of both text encoders, `embeddings` [B, L, D1 + D2], and the second one's
        projection of the whole prompt, `pooled` [B, D2].

        The empty prompt gives zeros if the pipeline's configuration says so: they, and not the encoded empty prompt, are
        then the input from which classifier-free guidance moves away.
        """
        outputs = [encode(tokens[name], output_hidden_states=True) for name, encode in self.text_encoders.items()]
        embeddings_BLD = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
        pooled_BD = outputs[-1].text_embeds
        if self.pipeline.config.force_zeros_for_empty_prompt:
            embeddings_BLD = embeddings_BLD * tokens["has_text"][:, None, None]
            pooled_BD = pooled_BD * tokens["has_text"][:, None]
        return {"embeddings": embeddings_BLD, "pooled": pooled_BD}

    def encode_framings(self, framings: Sequence[Framing], size: tuple[int, int]) -> Tensors:
        """Size of the original, position of the crop, and training size, `time_ids` [B, 6] (sections 2.2 and 2.3 of the
        paper).

        Always float32: bfloat16 rounds 1365 pixels to 1368.
        """
        width, height = size
        rows = [[one.height, one.width, one.top, one.left, height, width] for one in framings]
        return {"time_ids": torch.tensor(rows, dtype=torch.float32, device=self.device)}

    def _added_conditioning(self, prompts: Tensors, images: Tensors) -> Tensors | None:
        return {"text_embeds": prompts["pooled"], "time_ids": images["time_ids"]}
