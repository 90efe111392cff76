"""The plan of a run: the memory of all phases on a device, what fits, and which settings or which card would do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dreambooth_api.progress import PHASES
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.planning.memory import PhaseMemory
from dreambooth_trainer.planning.phases import Models, Target, plan_around_training
from dreambooth_trainer.planning.training import plan_training

CARDS = (16, 24, 32, 40, 48, 80, 96, 141)
"""Sizes of usual GPUs in GB, 10^9 bytes."""

SHARE = 0.9
"""Share of a device's memory that a plan may take. The rest is an allowance for what is not planned: the context of the device,
the workspaces of its libraries, and gaps between allocations."""


QUANTIZATION = "training.quantization"
"""The setting that also lowers the memory of other phases than the training."""


@dataclass(frozen=True)
class Proposal:
    """Settings with which the run fits."""

    settings: Mapping[str, Any]
    """Fields of the manifest and their values."""
    training: PhaseMemory
    largest: PhaseMemory
    """The phase that needs the most memory then, of those whose memory changes."""


@dataclass(frozen=True)
class Plan:
    """The plan of a run."""

    phases: Sequence[PhaseMemory]
    """In the order in which they run."""
    target: Target
    proposal: Proposal | None = None
    """If the run does not fit the devices: the first settings with which it would; None if there are none."""

    @property
    def largest(self) -> PhaseMemory:
        """The phase that needs the most memory."""
        return max(self.phases, key=lambda phase: phase.needed)

    @property
    def card(self) -> int | None:
        """The smallest usual GPU that would do, in GB; None if none would."""
        return next((card for card in CARDS if _fits(self.largest, card * 10**9)), None)

    @property
    def too_large(self) -> list[PhaseMemory]:
        """Phases that don't fit the devices; empty if their memory is not known."""
        memory = self.target.memory
        return [] if memory is None else [phase for phase in self.phases if not _fits(phase, memory)]

    @property
    def smaller_batches(self) -> list[PhaseMemory]:
        """Phases that fit only if fewer pictures are generated at once, which the trainer does by itself."""
        memory = self.target.memory
        if memory is None:
            return []
        return [phase for phase in self.phases if _fits(phase, memory) and phase.peak > SHARE * memory]


def plan_run(config: TrainConfig, target: Target) -> Plan:
    """Plans a run from its settings and the configuration of its base model.

    Raises:
        ModelUnavailable: the base model, or the CLIP model of the evaluation, has no configuration.
    """
    plan = Plan(plan_memory(config, target), target)
    return replace(plan, proposal=_proposal(config, plan))


def plan_memory(config: TrainConfig, target: Target) -> list[PhaseMemory]:
    """The memory of all phases, in the order in which they run.

    Raises:
        ModelUnavailable: the base model, or the CLIP model of the evaluation, has no configuration.
    """
    models = Models(config, target)
    phases = [*plan_around_training(config, models), plan_training(config, target, models)]
    return sorted(phases, key=lambda phase: PHASES.index(phase.phase))


def _fits(phase: PhaseMemory, memory: int) -> bool:
    return phase.needed <= SHARE * memory


def _proposal(config: TrainConfig, plan: Plan) -> Proposal | None:
    """The first settings with which a run fits that does not; None also if it does."""
    target, too_large = plan.target, [phase.phase for phase in plan.too_large]
    if target.memory is None or not too_large:
        return None
    for settings in _further_settings(config, target.devices):
        quantizes = QUANTIZATION in settings
        if not quantizes and too_large != ["train"]:
            continue
        changed = _with(config, settings)
        models = Models(changed, target)
        training = plan_training(changed, target, models)
        if not _fits(training, target.memory):
            continue
        phases = [training, *(plan_around_training(changed, models) if quantizes else ())]
        if all(_fits(phase, target.memory) for phase in phases):
            return Proposal(settings, training, max(phases, key=lambda phase: phase.needed))
    return None


def _further_settings(config: TrainConfig, devices: int) -> Iterator[dict[str, Any]]:
    """Settings that need less memory: first those with the same result, in the order of what they cost in time, except that
    offloading comes last. Each includes gradient checkpointing, and offloading of parameters that of the optimizer."""
    settings: dict[str, Any] = {}
    if not config.training.gradient_checkpointing:
        settings = {"training.gradientCheckpointing": True}
        yield settings
    stage = config.deepspeed.zero_stage
    lowest = 0 if stage == "auto" else stage
    if devices > 1:
        for higher in range(lowest + 1, 4):
            yield settings | {"deepspeed.zeroStage": higher}
    if config.training.method == "lora" and lowest < 3 and not config.deepspeed.offload.parameters:
        stored = ("none", "int8", "nf4")
        for smaller in stored[stored.index(config.training.quantization) + 1 :]:
            yield settings | {QUANTIZATION: smaller}
    offloading = settings | {"deepspeed.zeroStage": max(lowest, 2)}
    if not config.deepspeed.offload.optimizer:
        yield offloading | {"deepspeed.offload.optimizer": True}
    if not config.deepspeed.offload.parameters and config.training.quantization == "none":
        yield offloading | {
            "deepspeed.zeroStage": 3,
            "deepspeed.offload.optimizer": True,
            "deepspeed.offload.parameters": True,
        }


def _with(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run with other values of some fields."""
    content = config.model_dump(by_alias=True, exclude_unset=True)
    for path, value in settings.items():
        *sections, field = path.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        section[field] = value
    return TrainConfig.model_validate(content)
