"""The autoencoder: 3 x 64 x 64 pixels to 4 x 16 x 16 latents (Rombach et al., 2022), without a discriminator.

Flat drawings need no discriminator: an L1 loss on pixels and on their gradients keeps edges sharp. `train` of the
command line calls it; `diffusion` then encodes every picture with the result.
"""

import logging
import math

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from emoji_recipe.captions import Pool
from emoji_recipe.compose import Composer
from emoji_recipe.training import Average, Rate, Run, fit, mixed_precision
from emoji_recipe.vocabulary import SIDE

logger = logging.getLogger(__name__)

BATCH = 256
RATE = Rate(peak=1.5e-3, warm_up_steps=200)
DECAY = 0.999
MSE_WEIGHT = 0.5
KL_WEIGHT = 2e-4
PICTURES_TO_MEASURE = 2048
"""Pictures whose latents give the mean and deviation that are folded into the autoencoder."""


def build() -> AutoencoderKL:
    """An untrained autoencoder of 1.6 M parameters that scales by 4."""
    return AutoencoderKL(
        block_out_channels=(32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=16,
        mid_block_add_attention=False,
        sample_size=SIDE,
        scaling_factor=1.0,
    )


def train(pool: Pool, composer: Composer, run: Run) -> tuple[AutoencoderKL, list[float]]:
    """Trains an autoencoder whose latents have zero mean and unit variance; returns its moving average and the
    losses."""
    device = pool.layouts_N5.device
    with device:
        vae = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), weight_decay=0, betas=(0.9, 0.98), fused=True)
    average = Average(vae, DECAY)

    def loss(pictures_B3HW: Tensor) -> Tensor:
        with mixed_precision(device):
            posterior = vae.encode(pictures_B3HW).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float().clamp(-20, 10)
        latents = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        with mixed_precision(device):
            restored = vae.decode(latents).sample
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return reconstruction_loss(restored.float(), pictures_B3HW) + KL_WEIGHT * divergence

    loss = run.compiled(loss)

    def loss_of_batch() -> Tensor:
        layouts, _ = pool.sample(run.batch)
        return loss(composer(layouts).contiguous(memory_format=torch.channels_last))

    losses = fit("vae", run, optimizer, RATE, loss_of_batch, average.update)
    pictures = composer(pool.sample(min(PICTURES_TO_MEASURE, len(pool.layouts_N5)))[0])
    fold_normalisation(average.module, pictures)
    logger.info("vae: %d steps, PSNR %.1f dB", len(losses), psnr(average.module, pictures[:BATCH]))
    return average.module, losses


def reconstruction_loss(restored_B3HW: Tensor, pictures_B3HW: Tensor) -> Tensor:
    """L1 and weighted squared error of pixels plus L1 of their gradients."""
    edges = F.l1_loss(gradients(restored_B3HW), gradients(pictures_B3HW))
    pixels = F.l1_loss(restored_B3HW, pictures_B3HW) + MSE_WEIGHT * F.mse_loss(restored_B3HW, pictures_B3HW)
    return pixels + edges


def gradients(x_BCHW: Tensor) -> Tensor:
    """Differences to the right and lower neighbour, (B, 2C, H-1, W-1)."""
    here = x_BCHW[..., :-1, :-1]
    return torch.cat([x_BCHW[..., 1:, :-1] - here, x_BCHW[..., :-1, 1:] - here], 1)


@torch.no_grad()
def fold_normalisation(vae: AutoencoderKL, pictures_B3HW: Tensor) -> None:
    """Rescales the layers around the latents, `quant_conv` and inversely `post_quant_conv`, for latents of unit
    variance.

    The scaling factor is then 1, and each channel gets the same share of the noise. The second half of `quant_conv`
    gives log variances: a division by the deviation lowers them by twice its logarithm.
    """
    latents = torch.cat([vae.encode(chunk).latent_dist.sample() for chunk in pictures_B3HW.split(BATCH)])
    mean_C, deviation_C = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean_C)
    encoded, decoded = vae.quant_conv, vae.post_quant_conv
    encoded.weight[:channels] /= deviation_C[:, None, None, None]
    encoded.bias[:channels] = (encoded.bias[:channels] - mean_C) / deviation_C
    encoded.bias[channels:] -= 2 * deviation_C.log()
    decoded.bias += decoded.weight[:, :, 0, 0] @ mean_C
    decoded.weight *= deviation_C[None, :, None, None]


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures_B3HW: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1 that the autoencoder has encoded and decoded."""
    restored = vae.decode(vae.encode(pictures_B3HW).latent_dist.sample()).sample.clamp(-1, 1)
    return -10 * math.log10(F.mse_loss(restored, pictures_B3HW).item() / 4)
