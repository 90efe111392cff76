"""Qwen-Image (arXiv:2508.02324): latents of an autoencoder for videos, conditioned on hidden states of Qwen2.5-VL."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from torch import Tensor

from dreambooth_trainer.models.autoencoder import Autoencoder, VideoAutoencoder
from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.chat import INSTRUCTION, MASKED_PROMPTS, ChatTransformer


class QwenImage(ChatTransformer):
    """A loaded Qwen-Image model; implements `ModelFamily`."""

    pipeline_class: ClassVar[type[DiffusionPipeline]] = QwenImagePipeline
    autoencoder_class: ClassVar[type[Autoencoder]] = VideoAutoencoder
    text_lengths: ClassVar[Mapping[str, int]] = {"text_encoder": INSTRUCTION + 512}
    pipeline_arguments: ClassVar[Mapping[str, str]] = MASKED_PROMPTS
    unread_layers: ClassVar[Sequence[str]] = (
        "attn.add_q_proj",
        "attn.norm_added_q",
        "attn.to_add_out",
        "txt_mlp",
    )

    def _message(self, prompt: str) -> str:
        return str(self.pipeline.prompt_template_encode.format(prompt))

    def encode_prompts(self, tokens: Tensors) -> Tensors:
        """Hidden states of the last layer without the instruction, `embeddings` [B, L, D], and `mask` [B, L], true for the
        tokens of the prompt."""
        return {
            "embeddings": self._hidden_states(tokens)[-1][:, INSTRUCTION:],
            "mask": tokens["mask"][:, INSTRUCTION:].bool(),
        }

    def predict(self, z_BCHW: Tensor, t_B: Tensor, prompts: Tensors, images: Tensors) -> Tensor:
        """The transformer's prediction, [B, C, H, W]."""
        dtype = next(self.denoiser.parameters()).dtype
        height, width = (side // self.patch for side in z_BCHW.shape[2:])
        prediction_BND = self.denoiser(
            self._packed(z_BCHW.to(dtype)),
            timestep=t_B / 1000,
            encoder_hidden_states=prompts["embeddings"].to(dtype),
            encoder_hidden_states_mask=prompts["mask"],
            img_shapes=[[(1, height, width)]] * len(z_BCHW),
            return_dict=False,
        )[0]
        return self._unpacked(prediction_BND, height, width)

    def _guidance(self, scale: float) -> dict[str, float]:
        return {"true_cfg_scale": scale}
