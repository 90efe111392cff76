"""UNet and text encoder, trained together on the autoencoder's latents to predict their noise (Rombach et al., 2022).

`train` of the command line calls it after `vae`, then saves all parts as a Stable Diffusion pipeline.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dreambooth_trainer.models.stable_diffusion.published import save_pipeline
from emoji_recipe.captions import Pool
from emoji_recipe.compose import Composer
from emoji_recipe.tokenizer import LENGTH
from emoji_recipe.training import Average, Rate, Run, fit, mixed_precision

RATE = Rate(peak=8e-4, warm_up_steps=400, constant=0.6)
DECAY = 0.9995
WIDTH = 192
"""Width of the text encoder, to which the UNet attends."""


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet of 16.1 M parameters for latents of 4 x 16 x 16."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(96, 160, 224),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def text_config(vocabulary: int, layers: int) -> CLIPTextConfig:
    """Configuration of a CLIP text model for our tokenizer: start and end are tokens 0 and 1, and padding is the end
    token."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=6,
        max_position_embeddings=LENGTH,
        hidden_act="gelu",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train(
    pool: Pool, composer: Composer, vae: AutoencoderKL, vocabulary: int, run: Run
) -> tuple[UNet2DConditionModel, CLIPTextModel, list[float]]:
    """Trains UNet and text encoder; returns their moving averages and the losses."""
    device = pool.layouts_N5.device
    with device:
        unet = build_unet().to(memory_format=torch.channels_last)
        text_encoder = CLIPTextModel(text_config(vocabulary, layers=4))
    averages = Average(unet, DECAY), Average(text_encoder, DECAY)
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    scheduler = build_scheduler()
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.to(device)

    @torch.no_grad()
    def encode(pictures_B3HW: Tensor) -> Tensor:
        with mixed_precision(device):
            return vae.encode(pictures_B3HW).latent_dist.sample().float()

    def loss(latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor, token_ids_BL: Tensor) -> Tensor:
        noisy = scheduler.add_noise(latents_BCHW, noise_BCHW, timesteps_B)
        with mixed_precision(device):
            states_BLD = text_encoder(token_ids_BL).last_hidden_state
            predicted = unet(noisy.contiguous(memory_format=torch.channels_last), timesteps_B, states_BLD).sample
        return F.mse_loss(predicted.float(), noise_BCHW)

    encode, loss = run.compiled(encode), run.compiled(loss)

    def loss_of_batch() -> Tensor:
        layouts, token_ids = pool.sample(run.batch)
        latents = encode(composer(layouts).contiguous(memory_format=torch.channels_last))
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (run.batch,), device=device)
        return loss(latents, torch.randn_like(latents), timesteps, token_ids)

    def average(step: int) -> None:
        for each in averages:
            each.update(step)

    losses = fit("diffusion", run, optimizer, RATE, loss_of_batch, average)
    return averages[0].module, averages[1].module, losses


def save(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Writes a Stable Diffusion pipeline. Autoencoder and UNet are converted to float16 in place.

    The text encoder stays in float32: by default, transformers loads a model in its stored type, and diffusers loads
    models in float32, so that a text encoder in float16 would not fit the other parts.
    """
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    save_pipeline(pipeline, folder)
