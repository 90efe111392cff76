"""What fits, and which settings would."""

from typing import Any

import pytest

from dreambooth_api.progress import PHASES
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.planning.memory import PhaseMemory
from dreambooth_trainer.planning.phases import Models, Target
from dreambooth_trainer.planning.plan import Plan, plan_run
from dreambooth_trainer.planning.training import plan_training

GB = 10**9
TRAINING = PhaseMemory("train", {"unet, float32": 4 * GB}, gradients=4 * GB, optimizer=8 * GB, activations=2 * GB)
GENERATION = PhaseMemory("prior", {"unet, bfloat16": 2 * GB}, activations=30 * GB, least=2 * GB)


def plan_of(memory: int | None) -> Plan:
    return Plan([GENERATION, TRAINING], Target(memory=memory))


def config(**sections: Any) -> TrainConfig:
    """A run of the embedded model."""
    off = {"enabled": False}
    few = {"prior": off, "evaluation": off, "samples": {"prompts": []}}
    subject = {"class": "dog", "images": {"configMap": {"name": "photos"}}}
    return TrainConfig.model_validate({"model": {"source": "embedded://emoji"}, "subject": subject, **few, **sections})


def test_the_smallest_card_holds_the_phase_that_needs_most() -> None:
    assert (plan_of(None).largest, plan_of(None).card) == (TRAINING, 24)
    assert plan_of(None).too_large == plan_of(None).smaller_batches == []


def test_a_tenth_of_the_memory_is_left() -> None:
    assert plan_of(20 * GB).too_large == []
    assert plan_of(19 * GB).too_large == [TRAINING]


def test_pictures_need_only_the_memory_of_one() -> None:
    assert plan_of(24 * GB).smaller_batches == [GENERATION]
    assert plan_of(40 * GB).smaller_batches == []


@pytest.fixture(scope="module")
def needs() -> dict[str, int]:
    """Bytes of the training with different settings."""

    def of(devices: int = 1, **sections: Any) -> int:
        settings, target = config(**sections), Target(devices=devices)
        return plan_training(settings, target, Models(settings, target)).needed

    large = {"batchSize": 64}
    checkpointing = {"batchSize": 64, "gradientCheckpointing": True}
    return {
        "plain": of(training=large),
        "checkpointing": of(training=checkpointing),
        "stage 2": of(2, training=checkpointing, deepspeed={"zeroStage": 2}),
        "stage 3": of(2, training=checkpointing, deepspeed={"zeroStage": 3}),
        "offload": of(training=checkpointing, deepspeed={"zeroStage": 2, "offload": {"optimizer": True}}),
    }


def proposed(memory: int, devices: int = 1) -> dict[str, Any] | None:
    """The settings that are proposed for devices of a memory."""
    plan = plan_run(config(training={"batchSize": 64}, deepspeed={"zeroStage": 0}), Target("cuda", devices, memory))
    return None if plan.proposal is None else dict(plan.proposal.settings)


@pytest.mark.slow
def test_checkpointing_is_proposed_first(needs: dict[str, int]) -> None:
    assert needs["checkpointing"] < needs["plain"]
    assert proposed(int(needs["checkpointing"] / 0.9) + 1) == {"training.gradientCheckpointing": True}


@pytest.mark.slow
def test_one_device_is_helped_by_offloading(needs: dict[str, int]) -> None:
    assert needs["offload"] < needs["checkpointing"]
    assert proposed(int(needs["offload"] / 0.9) + 1) == {
        "training.gradientCheckpointing": True,
        "deepspeed.zeroStage": 2,
        "deepspeed.offload.optimizer": True,
    }


@pytest.mark.slow
def test_several_devices_share_before_they_offload(needs: dict[str, int]) -> None:
    settings = proposed(int(needs["stage 2"] / 0.9) + 1, devices=2)
    assert settings is not None and settings["deepspeed.zeroStage"] in (1, 2)
    assert "deepspeed.offload.optimizer" not in settings


@pytest.mark.slow
def test_adapters_are_helped_by_quantization() -> None:
    """Also in phases that generate pictures."""
    training = {"method": "lora", "gradientCheckpointing": True, "batchSize": 1}
    sections: dict[str, Any] = {
        "prior": {"images": 2, "batchSize": 1, "target": "noise"},
        "deepspeed": {"zeroStage": 0},
    }

    def needed(kind: str) -> int:
        settings = config(training={**training, "quantization": kind}, **sections)
        return plan_run(settings, Target()).largest.needed

    memory = int(needed("int8") / 0.9) + 1
    plan = plan_run(config(training=training, **sections), Target(memory=memory))
    assert [phase.phase for phase in plan.too_large] == ["prior", "train"]
    assert plan.proposal is not None
    assert plan.proposal.settings == {"training.quantization": "int8"}
    assert plan.proposal.largest.needed == needed("int8")


@pytest.mark.slow
def test_nothing_is_proposed_if_nothing_helps() -> None:
    plan = plan_run(config(training={"batchSize": 256}), Target(memory=10**8))
    assert [phase.phase for phase in plan.too_large] == ["train"]
    assert plan.proposal is None


def test_the_phases_have_their_order() -> None:
    sections = {"prior": {"images": 2}, "samples": {"prompts": ["a dog"]}}
    plan = plan_run(config(**sections), Target())
    assert [phase.phase for phase in plan.phases] == ["prior", "cache", "train", "export", "sample"]
    chosen = plan_run(config(**sections, training={"stopping": "best"}, evaluation={"perPrompt": 2}), Target())
    assert [phase.phase for phase in chosen.phases] == [phase for phase in PHASES if phase not in ("prepare", "upload")]
