"""The memory of the training on a device.

Forward and backward pass are the trainer's own, which run without memory while their tensors are counted. On one device
without sharding, so is the whole optimizer step; what DeepSpeed holds in other cases is computed in `sharding.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.planning.allocations import Allocations, bytes_of, tensors_in
from dreambooth_trainer.planning.inputs import Counts, Inputs
from dreambooth_trainer.planning.memory import PhaseMemory, Weights, weights_of
from dreambooth_trainer.planning.phases import Models, Target, bytes_of_encoding, bytes_of_generation
from dreambooth_trainer.planning.sharding import Sharding
from dreambooth_trainer.training.captured import CapturedStep
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import Division, divide
from dreambooth_trainer.training.micro_batches import MicroBatch
from dreambooth_trainer.training.module import DreamBoothModule
from dreambooth_trainer.training.zero_stage import zero_stage

UPDATE = {"cpu": 8, "cuda": 4}
"""Temporary bytes for each weight while AdamW updates it without a fused kernel, tensor by tensor on a CPU, and with PyTorch's
`foreach` on a GPU."""

UNLIMITED = 2**63
"""Bytes of a device whose memory is not known: the plan says what the training needs without sharding."""


def plan_training(config: TrainConfig, target: Target, models: Models) -> PhaseMemory:
    """The memory of the training.

    Raises:
        ModelUnavailable: the model has no configuration.
    """
    training = config.training
    made: list[DreamBoothModule] = []

    def make_trainable(model: LatentDiffusion) -> None:
        made.append(DreamBoothModule(model, training, config.prior.weight))

    inputs = models.load(exact=training.method == "full", change=make_trainable)
    (module,) = made
    with models.mode:
        stage = zero_stage(
            config.deepspeed,
            _count(_learned(module)),
            models.precision,
            memory=target.memory or UNLIMITED,
            processes=target.devices,
            quantized=training.quantization != "none",
        )
        step = _Step.of(config, target, models, inputs, module)
        planned = step.on_one_device() if stage == 0 and target.devices == 1 else step.by_deepspeed(stage)
        return _with_samples(planned, config, inputs, target.device_type) if config.samples.every_steps else planned


@dataclass(frozen=True)
class _Step:
    """An optimizer step of a process, in the mode of the model's tensors."""

    config: TrainConfig
    target: Target
    precision: torch.dtype
    model: LatentDiffusion
    module: DreamBoothModule
    division: Division
    batches: Sequence[MicroBatch]
    """Squares: those of other shapes have no larger area."""
    dataset: Dataset

    @classmethod
    def of(
        cls, config: TrainConfig, target: Target, models: Models, inputs: Inputs, module: DreamBoothModule
    ) -> "_Step":
        division = divide(config.training, rank=0, size=target.devices)
        dataset = inputs.dataset(Counts.of(config))
        batches = [
            MicroBatch(inputs.randomness(len(part), class_images=config.prior.enabled), dataset)
            for part in division.parts
        ]
        return cls(config, target, models.precision, inputs.model, module, division, batches, dataset)

    def on_one_device(self) -> PhaseMemory:
        """Counts the tensors of two steps, of which the first one creates the states of the optimizer."""
        module = self.module
        module.round_frozen_weights(self.precision)
        weights = weights_of(_trained_parts(self.model, module))
        optimizer = torch.optim.AdamW(module.parameter_groups(), fused=True)
        step = CapturedStep(module, optimizer, self.division, self.precision)
        with Allocations() as counted:
            for _ in range(2):
                step(self.batches)
        gradients = bytes_of(one.grad for one in _learned(module) if one.grad is not None)
        states = bytes_of(value for state in optimizer.state.values() for value in state.values())
        return PhaseMemory(
            "train",
            weights,
            gradients=gradients,
            optimizer=states,
            average=self._average(1),
            dataset=self._bytes_of_inputs(),
            activations=counted.peak - gradients - states,
            zero_stage=0,
        )

    def by_deepspeed(self, stage: int) -> PhaseMemory:
        """Counts the tensors of forward and backward pass, and computes the rest."""
        module, offload = self.module, self.config.deepspeed.offload
        learned_in = self.precision if stage else torch.float32
        module.round_frozen_weights(self.precision)
        for parameter in _learned(module):
            parameter.data = parameter.data.to(learned_in)
        weights = weights_of(_trained_parts(self.model, module))
        whole = sum(weights.values())
        sharding = Sharding(
            stage,
            self.target.devices,
            size=learned_in.itemsize,
            learned=_count(_learned(module)),
            offloads_optimizer=offload.optimizer and stage > 0,
            offloads_parameters=offload.parameters and stage == 3,
            update=UPDATE[self.target.device_type],
        )
        return PhaseMemory(
            "train",
            {name: sharding.weights(size) for name, size in weights.items()},
            gradients=sharding.gradients,
            optimizer=sharding.optimizer,
            average=0 if sharding.offloads_optimizer else self._average(self.target.devices if stage else 1),
            dataset=self._bytes_of_inputs(),
            activations=max(self._peak_of_passes() + sharding.in_passes(whole), sharding.in_update),
            host=sharding.host(whole),
            zero_stage=stage,
        )

    def _peak_of_passes(self) -> int:
        """Most bytes of the tensors of forward and backward pass without the gradients, which are freed at once."""
        for parameter in _learned(self.module):
            parameter.register_post_accumulate_grad_hook(_free_gradient)
        rounds = self.precision != self.module.denoiser.dtype
        with Allocations() as counted, torch.autocast("cpu", self.precision, enabled=rounds):
            self.module(*self.batches[0]).total.backward()
        return counted.peak

    def _average(self, shards: int) -> int:
        learned = 4 * _count(_learned(self.module))
        return learned // shards if self.config.training.ema.enabled else 0

    def _bytes_of_inputs(self) -> int:
        of_batches = (tensor for batch in self.batches for tensor in tensors_in(batch.randomness))
        return bytes_of([*tensors_in(self.dataset), *of_batches])


def _with_samples(planned: PhaseMemory, config: TrainConfig, inputs: Inputs, device_type: str) -> PhaseMemory:
    """Also with the pictures that are generated between steps, for which the autoencoder stays on the device. Text encoders
    that aren't trained have encoded the prompts before."""
    model, samples = inputs.model, config.samples
    rounded = model.precision.itemsize * _count(model.denoiser.parameters())
    copied = 0 if model.denoiser.dtype == model.precision else rounded
    of_pictures = bytes_of_generation(inputs, config.sampled_prompts, samples.guidance_scale) + copied
    if config.training.train_text_encoder:
        of_pictures = max(of_pictures, bytes_of_encoding(inputs, prompts=1))
    resting = Weights.of(model, device_type).at_rest
    return replace(planned, weights=resting | planned.weights, activations=max(planned.activations, of_pictures))


def _trained_parts(model: LatentDiffusion, module: DreamBoothModule) -> dict[str, nn.Module]:
    """The parts of the model that are on the device while it trains, by their names in the pipeline."""
    trained = {id(module.denoiser), *map(id, module.text_encoders.values())}
    return {name: part for name, part in model.parts.items() if id(part) in trained}


def _learned(module: DreamBoothModule) -> list[nn.Parameter]:
    return [parameter for _, parameter in module.learning()]


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _free_gradient(parameter: Tensor) -> None:
    parameter.grad = None
