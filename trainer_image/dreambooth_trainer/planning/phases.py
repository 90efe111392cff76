"""The memory of the phases before and after the training, counted while the trainer's own code runs without memory.

It mirrors `phases/`: which parts of the model are on the device, in which number format, and what is computed at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dreambooth_api.progress import PhaseName
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.clip import configuration_of_clip_scorer
from dreambooth_trainer.evaluation.pictures import BATCH
from dreambooth_trainer.models.conditioning import passes
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.planning.allocations import Allocations, bytes_of, tensors_in
from dreambooth_trainer.planning.inputs import Counts, Inputs, prompt_of
from dreambooth_trainer.planning.weightless import load_weightless, pretend


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


@dataclass(frozen=True)
class Target:
    """Devices to plan for."""

    device_type: Literal["cuda", "cpu"] = "cuda"
    devices: int = 1
    memory: int | None = None
    """Bytes of each device; None if they are unknown."""

    def precision(self, mixed_precision: str) -> torch.dtype:
        """The number format for a value of `training.mixedPrecision`. `auto` is bfloat16 on GPUs, as since Ampere."""
        formats = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return formats.get(mixed_precision, torch.bfloat16 if self.device_type == "cuda" else torch.float32)


class Models:
    """Models of a run without weights."""

    def __init__(self, config: TrainConfig, target: Target) -> None:
        self.mode = FakeTensorMode()
        """The mode of their tensors."""
        self.precision = target.precision(config.training.mixed_precision)
        """Number format of the denoiser's arithmetic."""
        self._config = config
        self._target = target

    def load(self, *, exact: bool, change: Callable[[LatentDiffusion], object] = lambda model: None) -> Inputs:
        """A model and its inputs.

        Args:
            exact: whether the denoiser's weights are float32, and not rounded for the arithmetic.
            change: changes the model, for example makes it trainable, while its tensors are on the meta device.

        Raises:
            ModelUnavailable: the model has no configuration.
        """
        model = load_weightless(self._config.model, self._target.device_type, self.precision)
        change(model)
        # Outside of the mode, since a tokenizer makes real tensors.
        prompt = prompt_of(model, self._config)
        with self.mode:
            pretend(model, torch.float32 if exact else self.precision)
            return Inputs.of(model, self._config.training.resolution or model.resolution, prompt)


def plan_around_training(config: TrainConfig, models: Models) -> list[PhaseMemory]:
    """The memory of all phases but the training.

    Raises:
        ModelUnavailable: the model, or the CLIP model, has no configuration.
    """
    samples = config.samples
    inputs = models.load(exact=False)
    exported = models.load(exact=True).model if inputs.model.family().exports_float32 else inputs.model
    with models.mode:
        weights = weights_of(inputs.model.parts)
        planned = []
        if config.prior.enabled:
            planned.append(_class_images(config, inputs, weights))
        planned.append(_encoding(config, inputs, weights))
        planned.append(PhaseMemory("export", weights_of(exported.parts)))
        if pictures := min(BATCH, len(samples.prompts) * samples.per_prompt):
            planned.append(_generating("sample", inputs, pictures, samples.guidance_scale, weights))
        if config.evaluation.enabled:
            scorer = {"CLIP scorer, float32": _bytes_of_scorer(config.evaluation.encoder)}
            measured = _generating("evaluate", inputs, BATCH, samples.guidance_scale, weights | scorer)
            planned += [measured, *([replace(measured, phase="choose")] if config.training.stopping == "best" else [])]
    return planned


def _class_images(config: TrainConfig, inputs: Inputs, weights: dict[str, int]) -> PhaseMemory:
    prior, counts = config.prior, Counts.of(config)
    encoded = _peak_of(lambda: inputs.model.encode_images(inputs.pictures(1))) if counts.own_class_images else 0
    if counts.own_class_images == counts.class_images:
        return PhaseMemory("prior", weights, activations=encoded)
    planned = _generating("prior", inputs, prior.batch_size, prior.sampler.guidance_scale, weights)
    return replace(planned, activations=max(planned.activations, encoded), least=max(planned.least or 0, encoded))


def _generating(
    phase: PhaseName, inputs: Inputs, pictures: int, guidance_scale: float, weights: dict[str, int]
) -> PhaseMemory:
    at_once, one_by_one = (bytes_of_generation(inputs, count, guidance_scale) for count in (pictures, 1))
    return PhaseMemory(phase, weights, activations=at_once, least=one_by_one)


def bytes_of_generation(inputs: Inputs, pictures: int, guidance_scale: float) -> int:
    """Most bytes while pictures are generated at once, in addition to the weights."""
    model = inputs.model
    guided = guidance_scale > 1 and not model.family().embeds_guidance
    # Some pipelines predict with and without the prompt one after the other, which takes less.
    rows = 2 * pictures if guided else pictures

    def denoise() -> None:
        conditioning, latents = inputs.conditioning(rows), inputs.latents(rows)
        with model.arithmetic():
            model.predict(latents, inputs.timesteps(rows), conditioning, inputs.framings(rows))

    return max(
        _peak_of(lambda: model.encode_prompts(inputs.token_ids(1))),
        _peak_of(denoise),
        _peak_of(lambda: model.autoencoder.decode(inputs.latents(pictures))),
    )


def _encoding(config: TrainConfig, inputs: Inputs, weights: dict[str, int]) -> PhaseMemory:
    counts, model = Counts.of(config), inputs.model
    rows = min(counts.predictions, 2 * config.prior.batch_size)

    def predict() -> None:
        conditioning, latents = inputs.conditioning(rows), inputs.latents(rows)
        with model.arithmetic():
            model.predict(latents, inputs.timesteps(rows), conditioning, inputs.framings(rows)).float()

    return PhaseMemory(
        "cache",
        weights,
        dataset=bytes_of(tensors_in(inputs.dataset(counts))),
        activations=max(
            _peak_of(lambda: model.encode_images(inputs.pictures(counts.photos))),
            _peak_of(lambda: model.encode_prompts(next(passes(inputs.token_ids(counts.prompts))))),
            _peak_of(predict) if rows else 0,
        ),
    )


def weights_of(parts: dict[str, nn.Module]) -> dict[str, int]:
    """Bytes of modules by name and number format."""
    found: dict[str, int] = {}
    for name, module in parts.items():
        for dtype in dict.fromkeys(parameter.dtype for parameter in module.parameters()):
            key = f"{name}, {str(dtype).removeprefix('torch.')}"
            found[key] = bytes_of(parameter for parameter in module.parameters() if parameter.dtype == dtype)
    return found


def _bytes_of_scorer(source: str) -> int:
    from transformers import CLIPModel

    return bytes_of(CLIPModel(configuration_of_clip_scorer(source)).parameters())


def _peak_of(work: Callable[[], object]) -> int:
    """Most bytes of the tensors that a computation without gradients creates."""
    with Allocations() as counted, torch.no_grad():
        work()
    return counted.peak
