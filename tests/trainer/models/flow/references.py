"""The families' predictions as their stock pipelines compute them, written without this trainer's code."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dreambooth_trainer.models.flow.model import FlowTransformer
from dreambooth_trainer.models.flow.qwen_image import QwenImage
from tests.trainer.tiny_flow import FlowFamily

Predict = Callable[[Any, Tensor, Tensor, list[str]], Tensor]
"""Velocity, noise minus clean latents, [B, C, H, W], of a pipeline for noisy latents, noise levels in 0..1 and prompts."""


def guidance(model: FlowTransformer, scale: float, negative_prompts: list[str]) -> dict[str, Any]:
    """Arguments of the stock pipeline. That of Qwen-Image guides only with negative prompts; the others have empty ones."""
    negative = {"negative_prompt": negative_prompts} if isinstance(model, QwenImage) and scale > 1 else {}
    return {**model._guidance(scale), **negative}


def _flux2_klein(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, text_ids = pipeline.encode_prompt(prompts, device="cpu")
    predicted = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy_BCHW),
        timestep=level_B,
        guidance=None,
        encoder_hidden_states=embeddings,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_ids(noisy_BCHW),
        return_dict=False,
    )[0]
    return torch.stack([row.T.reshape(noisy_BCHW.shape[1:]) for row in predicted])


def _stable_diffusion_3_5(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, _, pooled, _ = pipeline.encode_prompt(
        prompts, None, None, device="cpu", do_classifier_free_guidance=False
    )
    predicted: Tensor = pipeline.transformer(
        hidden_states=noisy_BCHW,
        timestep=1000 * level_B,
        encoder_hidden_states=embeddings,
        pooled_projections=pooled,
        return_dict=False,
    )[0]
    return predicted


def _flux1_dev(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, pooled, text_ids = pipeline.encode_prompt(prompts, device="cpu")
    rows, channels, height, width = noisy_BCHW.shape
    predicted = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy_BCHW, rows, channels, height, width),
        timestep=level_B,
        guidance=torch.full([rows], 1.0),
        pooled_projections=pooled,
        encoder_hidden_states=embeddings,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(rows, height // 2, width // 2, "cpu", torch.float32),
        return_dict=False,
    )[0]
    scale = pipeline.vae_scale_factor
    unpacked: Tensor = pipeline._unpack_latents(predicted, scale * height, scale * width, scale)
    return unpacked


def _chroma(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, text_ids, mask, *_ = pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    rows, channels, height, width = noisy_BCHW.shape
    packed = pipeline._pack_latents(noisy_BCHW, rows, channels, height, width)
    predicted = pipeline.transformer(
        hidden_states=packed,
        timestep=level_B,
        encoder_hidden_states=embeddings,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(rows, height // 2, width // 2, "cpu", torch.float32),
        attention_mask=pipeline._prepare_attention_mask(rows, packed.shape[1], torch.bool, mask.bool()),
        return_dict=False,
    )[0]
    scale = pipeline.vae_scale_factor
    unpacked: Tensor = pipeline._unpack_latents(predicted, scale * height, scale * width, scale)
    return unpacked


def _z_image(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, _ = pipeline.encode_prompt(list(prompts), device="cpu", do_classifier_free_guidance=False)
    to_clean = pipeline.transformer(
        [latents.unsqueeze(1) for latents in noisy_BCHW], 1 - level_B, embeddings, return_dict=False
    )[0]
    return torch.stack([-velocity[:, 0] for velocity in to_clean])


def _qwen_image(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, mask = pipeline.encode_prompt(prompts, device="cpu")
    rows, channels, height, width = noisy_BCHW.shape
    predicted = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy_BCHW.unsqueeze(1), rows, channels, height, width),
        timestep=level_B,
        encoder_hidden_states=embeddings,
        encoder_hidden_states_mask=mask,
        img_shapes=[[(1, height // 2, width // 2)]] * rows,
        return_dict=False,
    )[0]
    scale = pipeline.vae_scale_factor
    unpacked: Tensor = pipeline._unpack_latents(predicted, scale * height, scale * width, scale)
    return unpacked.squeeze(2)


def _krea2(pipeline: Any, noisy_BCHW: Tensor, level_B: Tensor, prompts: list[str]) -> Tensor:
    embeddings, mask = pipeline.encode_prompt(prompts, device="cpu")
    rows, channels, height, width = noisy_BCHW.shape
    predicted = pipeline.transformer(
        hidden_states=pipeline._pack_latents(noisy_BCHW, rows, channels, height, width),
        timestep=level_B,
        encoder_hidden_states=embeddings,
        position_ids=pipeline.prepare_position_ids(embeddings.shape[1], height // 2, width // 2, "cpu"),
        encoder_attention_mask=mask,
        return_dict=False,
    )[0]
    scale = pipeline.vae_scale_factor
    unpacked: Tensor = pipeline._unpack_latents(predicted, scale * height, scale * width)
    return unpacked.squeeze(2)


PREDICTIONS: dict[FlowFamily, Predict] = {
    "flux2-klein": _flux2_klein,
    "sd3.5": _stable_diffusion_3_5,
    "flux1-dev": _flux1_dev,
    "chroma": _chroma,
    "z-image": _z_image,
    "qwen-image": _qwen_image,
    "krea2": _krea2,
}
