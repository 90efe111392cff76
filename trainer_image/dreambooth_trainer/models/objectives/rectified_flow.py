"""Rectified flow (Liu et al., arXiv:2209.03003): a straight path from the clean latents to the noise."""

from typing import Literal

import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor

STEPS = 1000
"""Timesteps are noise levels in thousandths, as schedulers and pipelines count them."""


class RectifiedFlow:
    """Noise levels, path and target; implements `Objective`."""

    def __init__(self, scheduler: FrozenDict, density: Literal["uniform", "logit-normal"] = "uniform") -> None:
        """Reads a scheduler's configuration.

        Args:
            scheduler: the configuration. A static shift of its noise levels also applies to the training.
            density: distribution of the noise levels before the shift. The logit-normal one has mean 0 and deviation 1
                (Esser et al., arXiv:2403.03206, section 3.1).

        Raises:
            ValueError: it is of another process.
        """
        if "shift" not in scheduler:
            raise ValueError(f"its scheduler, {scheduler.get('_class_name')}, is of another process than flow matching")
        self.scheduler = scheduler
        self.density = density
        self.shift = 1.0 if scheduler.get("use_dynamic_shifting") else float(scheduler.get("shift", 1.0))

    def timesteps(self, uniform_B: Tensor) -> Tensor:
        """Noise levels s in thousandths. A shift k maps them to k s / (1 + (k - 1) s) (Esser et al., equation 23)."""
        level_B = uniform_B
        if self.density == "logit-normal":
            # The logit of 0 and of 1 is infinite.
            level_B = torch.special.ndtri(uniform_B.clamp(1e-6, 1 - 1e-6)).sigmoid()
        return STEPS * self.shift * level_B / (1 + (self.shift - 1) * level_B)

    def add_noise(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """(1 - s) z + s noise."""
        level_B111 = (t_B / STEPS).view(-1, 1, 1, 1)
        return (1 - level_B111) * z_BCHW + level_B111 * noise_BCHW

    def target(self, z_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
        """The velocity noise - z, which is the same along the path."""
        return noise_BCHW - z_BCHW

    def loss_weight(self, t_B: Tensor, min_snr_gamma: float) -> Tensor:
        """Not defined: `model_families` refuses the setting."""
        raise NotImplementedError("min-SNR weights are for diffusion models with DDPM's process")
