"""What DeepSpeed holds on a device: the memory model of ZeRO (Rajbhandari et al., arXiv:1910.02054, section 3), with the
buffers of DeepSpeed 0.19."""

from dataclasses import dataclass

from dreambooth_trainer.training.zero_stage import LARGEST_BUCKET

MASTER, MOMENTS = 4, 8
"""Bytes of a master weight and of the two moments of AdamW, in float32."""

MOST_GATHERED = 1_000_000_000
"""Weights that stage 3 keeps gathered at once: its default `stage3_max_live_parameters`."""


@dataclass(frozen=True)
class Sharding:
    """How a training is divided, and the bytes on each device that follow."""

    stage: int
    """ZeRO stage."""
    devices: int
    size: int
    """Bytes of a trained weight in its number format: that of the arithmetic, or float32 at stage 0."""
    learned: int
    """Trained weights."""
    offloads_optimizer: bool
    offloads_parameters: bool
    update: int
    """Temporary bytes for each weight that the optimizer updates."""

    def weights(self, size: int) -> int:
        """Bytes of the weights.

        Args:
            size: bytes without sharding.
        """
        if self.offloads_parameters:
            return 0
        return size // self.devices if self.stage == 3 else size

    @property
    def gradients(self) -> int:
        """Bytes of the gradients."""
        if self.offloads_optimizer and self.stage < 3:
            return 0
        return self.size * self._shard

    @property
    def optimizer(self) -> int:
        """Bytes of master weights and moments."""
        if self.offloads_optimizer:
            return 0
        return (MOMENTS if self.stage == 0 else MASTER + MOMENTS) * self._shard

    def in_passes(self, weights: int) -> int:
        """Further bytes during forward and backward pass: weights that are gathered, and gradients to be reduced.

        Args:
            weights: bytes of the weights without sharding.
        """
        gathered = min(weights, self.size * MOST_GATHERED) if self.stage == 3 else 0
        return gathered + (self._bucket if self.stage else 0)

    @property
    def in_update(self) -> int:
        """Further bytes while the optimizer updates the weights."""
        if self.stage == 0:
            return self._bucket
        kept = self._bucket if self.stage == 3 else -self.gradients
        return kept + (0 if self.offloads_optimizer else (4 + self.update) * self._shard)

    def host(self, weights: int) -> int:
        """Bytes in the host's memory for this device.

        Args:
            weights: bytes of the weights without sharding.
        """
        states = (MASTER + MOMENTS + 4) * self._shard if self.offloads_optimizer else 0
        return states + (weights // self.devices if self.offloads_parameters else 0)

    @property
    def _shard(self) -> int:
        """Trained weights whose states the device holds."""
        return -(-self.learned // self.devices) if self.stage else self.learned

    @property
    def _bucket(self) -> int:
        return self.size * min(self.learned, LARGEST_BUCKET)
