"""The memory that a phase of a run needs on a device, and which weights are there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from dreambooth_api.progress import PhaseName
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.quantization import held_weights
from dreambooth_trainer.planning.allocations import bytes_of


@dataclass(frozen=True)
class PhaseMemory:
    """Bytes on a device during a phase."""

    phase: PhaseName
    weights: dict[str, int]
    """By part and number format, such as `unet, bfloat16`."""
    gradients: int = 0
    optimizer: int = 0
    """States of the optimizer, and float32 master weights that are apart from the weights."""
    average: int = 0
    """Exponential moving average of the weights."""
    dataset: int = 0
    """Latents, conditioning and predictions that the training reads."""
    activations: int = 0
    """Outputs of layers, and all other tensors of a computation: copies of weights in another number format, buffers."""
    least: int | None = None
    """`activations` if one picture is generated at a time, as the trainer does if the memory has no room for more; None
    for phases that can't do with less."""
    host: int = 0
    """Bytes in the host's memory that are offloaded from the device."""
    zero_stage: int | None = None
    """ZeRO stage of the training; None for the other phases."""

    @property
    def held(self) -> int:
        """Bytes during the whole phase."""
        return sum(self.weights.values()) + self.gradients + self.optimizer + self.average + self.dataset

    @property
    def peak(self) -> int:
        """Most bytes at any time."""
        return self.held + self.activations

    @property
    def needed(self) -> int:
        """Bytes without which the phase fails."""
        return self.held + (self.activations if self.least is None else self.least)


def one_after_the_other(stages: Sequence[PhaseMemory]) -> PhaseMemory:
    """The memory of a phase: of the stage with the highest peak, if no other one needs more with one picture at a time."""
    largest = max(stages, key=lambda stage: stage.peak)
    needed = max(stage.needed for stage in stages)
    return replace(largest, least=None if needed == largest.peak else needed - largest.held)


@dataclass(frozen=True)
class Weights:
    """Bytes of the weights that are on the device, by part and number format, in the stages of a phase."""

    at_rest: dict[str, int]
    """Before and after the stages."""
    encoding: dict[str, int]
    """While prompts are encoded."""
    denoising: dict[str, int]
    """While pictures are generated, or predictions made."""

    @classmethod
    def of(cls, model: LatentDiffusion, device_type: str) -> "Weights":
        """The weights of a model. All are in the memory of a CPU at all times."""
        parts = model.parts
        whole = weights_of(parts)
        if device_type == "cpu":
            return cls(whole, whole, whole)
        denoiser = model.family().denoiser
        resting = {name: part for name, part in parts.items() if name != denoiser and name not in model.text_encoders}
        return cls(
            weights_of(resting),
            weights_of({**model.text_encoders, **resting}),
            weights_of({denoiser: parts[denoiser], **resting}),
        )

    def with_more(self, weights: dict[str, int]) -> "Weights":
        """Also with others, which are there in all stages."""
        return Weights(self.at_rest | weights, self.encoding | weights, self.denoising | weights)


def weights_of(parts: dict[str, nn.Module]) -> dict[str, int]:
    """Bytes of modules by name and number format."""
    found: dict[str, int] = {}
    for name, module in parts.items():
        of_format: dict[str, list[Tensor]] = {}
        for number_format, weights in held_weights(module):
            of_format.setdefault(number_format, []).append(weights)
        found |= {f"{name}, {number_format}": bytes_of(tensors) for number_format, tensors in of_format.items()}
    return found
