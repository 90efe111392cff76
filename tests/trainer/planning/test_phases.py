"""Planned memory of generation and encoding against counted memory, on a CPU."""

from pathlib import Path

import pytest

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.phases import cache, prepare, prior
from dreambooth_trainer.planning.allocations import Allocations, bytes_of, tensors_in
from dreambooth_trainer.planning.memory import PhaseMemory
from dreambooth_trainer.planning.phases import Models, Target, plan_around_training
from tests.trainer.tiny_training import job_of, write_photos

CLOSE = 0.15
"""Relative difference between plan and measurement that is allowed."""


def planned(config: TrainConfig, device_type: str = "cpu") -> dict[str, PhaseMemory]:
    """The phases of a run around its training."""
    target = Target(device_type)  # type: ignore[arg-type]
    return {phase.phase: phase for phase in plan_around_training(config, Models(config, target))}


def test_class_images_and_dataset_need_what_was_planned(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    job = job_of(tmp_path, "counted", model={"source": "embedded://emoji"}, prior={"images": 8, "batchSize": 8})
    run = job.run()
    prepared = prepare.prepare(run)
    plan = planned(run.config)
    assert sum(plan["prior"].weights.values()) == pytest.approx(
        bytes_of(weights for part in run.model.parts.values() for weights in part.parameters()),  # type: ignore[attr-defined]
        rel=0.01,
    )
    with Allocations() as generating:
        class_images = prior.generate_class_images(run)
    assert plan["prior"].activations == pytest.approx(generating.peak, rel=CLOSE)
    with Allocations() as encoding:
        (dataset,) = cache.make_datasets(run, prepared.photos, class_images)
    assert plan["cache"].dataset == pytest.approx(bytes_of(tensors_in(dataset)), rel=CLOSE)
    assert plan["cache"].dataset + plan["cache"].activations == pytest.approx(encoding.peak, rel=CLOSE)


@pytest.mark.parametrize("share", [0, 0.5])
def test_own_class_images_need_what_was_planned(tmp_path: Path, share: float) -> None:
    write_photos(tmp_path / "photos")
    write_photos(tmp_path / "own")
    own = {"images": 3, "batchSize": 2, "unconditionalShare": share, "source": {"path": str(tmp_path / "own")}}
    run = job_of(tmp_path, "own", model={"source": "embedded://emoji"}, prior=own).run()
    plan = planned(run.config)
    assert run.model
    with Allocations() as providing:
        prior.generate_class_images(run)
    assert plan["prior"].activations == pytest.approx(providing.peak, rel=CLOSE)


def test_guidance_doubles_the_batch_of_a_pass(tmp_path: Path) -> None:
    plain, guided = (
        planned(job_of(tmp_path, "guided", model={"source": "embedded://emoji"}, samples=samples).run().config)
        for samples in ({"perPrompt": 16, "guidanceScale": 1}, {"perPrompt": 16, "guidanceScale": 5})
    )
    assert plain["sample"].activations < guided["sample"].activations <= 2 * plain["sample"].activations


def test_the_phases_are_those_of_the_run(tmp_path: Path) -> None:
    off = {"enabled": False}
    sections = {"model": {"source": "embedded://emoji"}, "prior": off, "samples": {"prompts": []}, "evaluation": off}
    bare = planned(job_of(tmp_path, "bare", **sections).run().config)
    assert list(bare) == ["cache", "export"]
    assert bare["export"].weights.keys() == {"unet, float32", "text_encoder, float32", "vae, float32"}


def test_each_family_is_planned(family: Path, tmp_path: Path) -> None:
    """In bfloat16, as on a GPU, with the settings of a usual run but for its size."""
    sections = {"model": {"source": str(family)}, "training": {"resolution": 64, "mixedPrecision": "bf16"}}
    write_photos(tmp_path / "photos")
    plan = planned(job_of(tmp_path, "planned", **sections, prior={"images": 2, "batchSize": 2}).run().config, "cuda")
    assert list(plan) == ["prior", "cache", "export", "sample"]
    assert all(phase.activations for phase in plan.values() if phase.phase != "export")
    assert plan["cache"].dataset > 0
