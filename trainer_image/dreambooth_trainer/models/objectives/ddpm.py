"""The process of denoising diffusion models (Ho et al., arXiv:2006.11239) with discrete timesteps."""

from typing import cast

import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a denoiser can predict: the noise, the velocity, or the clean latents."""


class Ddpm:
    """Noise schedule, target and loss weights; implements `Objective`."""

    def __init__(self, scheduler: FrozenDict, device: torch.device) -> None:
        """Reads a scheduler's configuration.

        Raises:
            ValueError: it is of another process, or names an unknown prediction type.
        """
        # Schedulers of other processes, such as EDM's and flow matching's, have no schedule of betas.
        if "beta_schedule" not in scheduler:
            raise ValueError(f"its scheduler, {scheduler.get('_class_name')}, is of another process than DDPM")
        # Latents can be outside of -1..1, and the scheduler of a checkpoint may not disable clipping.
        self.scheduler = DDPMScheduler.from_config(scheduler, clip_sample=False)
        self.scheduler.alphas_cumprod = self.scheduler.alphas_cumprod.to(device)
        self.predicts: str = self.scheduler.config.prediction_type
        if self.predicts not in PREDICTIONS:
            raise ValueError(f"its scheduler has the prediction type {self.predicts!r}, not {', '.join(PREDICTIONS)}")

    @property
    def ends_without_signal(self) -> bool:
        """Whether the last timestep is pure noise, from which a prediction of the noise contains no information."""
        return float(self.scheduler.alphas_cumprod.min()) <= 0

    def timesteps(self, uniform_B: Tensor) -> Tensor:
        """Uniform over the noise schedule's steps."""
        return (uniform_B * int(self.scheduler.config.num_train_timesteps)).long()

    def add_noise(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """sqrt(a_t) z + sqrt(1 - a_t) noise (Ho et al., equation 4)."""
        return cast(Tensor, self.scheduler.add_noise(z_BCHW, noise_BCHW, t_B))

    def target(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """The noise, the clean latents, or the velocity sqrt(a_t) noise - sqrt(1 - a_t) z (Salimans and Ho,
        arXiv:2202.00512)."""
        if self.predicts == "v_prediction":
            return cast(Tensor, self.scheduler.get_velocity(z_BCHW, noise_BCHW, t_B))
        return z_BCHW if self.predicts == "sample" else noise_BCHW

    def loss_weight(self, t_B: Tensor, min_snr_gamma: float) -> Tensor:
        """min(SNR, gamma) for the clean latents, which is divided by SNR for the noise, and by SNR + 1 for the velocity
        (Hang et al., arXiv:2303.09556, section 3.4)."""
        snr = cast(Tensor, compute_snr(self.scheduler, t_B))
        weight = snr.clamp(max=min_snr_gamma)
        return weight / {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[self.predicts]
