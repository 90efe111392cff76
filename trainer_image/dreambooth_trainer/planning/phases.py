"""The memory of the phases before and after the training, counted while the trainer's own code runs without memory.

It mirrors `phases/`: which parts of the model are on the device, in which number format, and what is computed at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dreambooth_api.progress import PhaseName
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.clip import configuration_of_clip_scorer
from dreambooth_trainer.evaluation.pictures import BATCH
from dreambooth_trainer.models.conditioning import passes
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.planning.allocations import Allocations, bytes_of, tensors_in
from dreambooth_trainer.planning.inputs import Counts, Inputs, prompt_of
from dreambooth_trainer.planning.memory import PhaseMemory, Weights, one_after_the_other
from dreambooth_trainer.planning.weightless import load_weightless, pretend


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
        self.device_type = target.device_type
        """Type of the device that computes."""
        self._config = config

    def load(
        self, *, exact: bool, quantized: bool = True, change: Callable[[LatentDiffusion], object] = lambda model: None
    ) -> Inputs:
        """A model and its inputs.

        Args:
            exact: whether the denoiser's weights are float32, and not rounded for the arithmetic.
            quantized: whether weights are quantized as `training.quantization` says.
            change: changes the model, for example makes it trainable, while its tensors are on the meta device.

        Raises:
            ModelUnavailable: the model has no configuration.
        """
        model = load_weightless(self._config.model, self.device_type, self.precision)
        if quantized:
            model.quantize(self._config.training.quantization)
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
    exact = inputs.model.family().exports_float32
    as_loaded = not exact and config.training.quantization == "none"
    exported = inputs.model if as_loaded else models.load(exact=exact, quantized=False).model
    with models.mode:
        weights = Weights.of(inputs.model, models.device_type)
        planned = []
        if config.prior.enabled:
            planned.append(_class_images(config, inputs, weights))
        planned.append(_encoding(config, inputs, weights))
        planned.append(PhaseMemory("export", Weights.of(exported, models.device_type).at_rest))
        if pictures := min(BATCH, config.sampled_prompts * samples.per_prompt):
            planned.append(_generating("sample", inputs, pictures, samples.guidance_scale, weights))
        if config.evaluation.enabled:
            scorer = {"CLIP scorer, float32": _bytes_of_scorer(config.evaluation.encoder)}
            measured = _generating("evaluate", inputs, BATCH, samples.guidance_scale, weights.with_more(scorer))
            planned += [measured, *([replace(measured, phase="choose")] if config.training.stopping == "best" else [])]
    return planned


def _class_images(config: TrainConfig, inputs: Inputs, weights: Weights) -> PhaseMemory:
    prior, counts = config.prior, Counts.of(config)
    stages = []
    if counts.own_class_images:
        encoded = _peak_of(lambda: inputs.model.encode_images(inputs.pictures(1)))
        stages.append(PhaseMemory("prior", weights.at_rest, activations=encoded))
    if counts.own_class_images < counts.class_images:
        stages.append(_generating("prior", inputs, prior.batch_size, prior.sampler.guidance_scale, weights))
    return one_after_the_other(stages)


def _generating(
    phase: PhaseName, inputs: Inputs, pictures: int, guidance_scale: float, weights: Weights
) -> PhaseMemory:
    at_once, one_by_one = (bytes_of_generation(inputs, count, guidance_scale) for count in (pictures, 1))
    return one_after_the_other(
        [
            PhaseMemory(phase, weights.denoising, activations=at_once, least=one_by_one),
            PhaseMemory(phase, weights.encoding, activations=bytes_of_encoding(inputs, prompts=1)),
        ]
    )


def bytes_of_encoding(inputs: Inputs, prompts: int) -> int:
    """Most bytes while prompts are encoded, in addition to the weights."""
    model, tokens = inputs.model, next(passes(inputs.token_ids(prompts)))
    return _peak_of(lambda: model.encode_prompts(tokens))


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
        _peak_of(denoise),
        _peak_of(lambda: model.autoencoder.decode(inputs.latents(pictures))),
    )


def _encoding(config: TrainConfig, inputs: Inputs, weights: Weights) -> PhaseMemory:
    counts, model = Counts.of(config), inputs.model
    dataset = bytes_of(tensors_in(inputs.dataset(counts)))

    def bytes_of_predictions(rows: int) -> int:
        def predict() -> None:
            conditioning, latents = inputs.conditioning(rows), inputs.latents(rows)
            with model.arithmetic():
                model.predict(latents, inputs.timesteps(rows), conditioning, inputs.framings(rows)).float()

        return _peak_of(predict)

    of_photos = _peak_of(lambda: model.encode_images(inputs.pictures(counts.photos)))
    of_prompts = bytes_of_encoding(inputs, counts.prompts)
    stages = [
        PhaseMemory("cache", weights.at_rest, dataset=dataset, activations=of_photos),
        PhaseMemory("cache", weights.encoding, dataset=dataset, activations=of_prompts),
    ]
    if rows := min(counts.predictions, 2 * config.prior.batch_size):
        at_once, one_by_one = map(bytes_of_predictions, (rows, 1))
        stages.append(PhaseMemory("cache", weights.denoising, dataset=dataset, activations=at_once, least=one_by_one))
    return one_after_the_other(stages)


def _bytes_of_scorer(source: str) -> int:
    from transformers import CLIPModel

    return bytes_of(CLIPModel(configuration_of_clip_scorer(source)).parameters())


def _peak_of(work: Callable[[], object]) -> int:
    """Most bytes of the tensors that a computation without gradients creates."""
    with Allocations() as counted, torch.no_grad():
        work()
    return counted.peak
