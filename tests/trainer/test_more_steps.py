"""Runs whose manifest has more steps than before: they continue from their newest checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dreambooth_api.failures import InvalidConfig
from dreambooth_trainer.training.checkpoints import read
from dreambooth_trainer.training.loss_curve import read_losses
from tests.trainer.tiny_training import Job, interrupted, job_of, wait, with_section

KEPT = {"keepLast": True}


def equal(one: Job, other: Job) -> bool:
    """Whether the exported models of two runs have the same weights."""
    found, wanted = one.exported(), other.exported()
    return all(torch.equal(found[name], wanted[name]) for name in wanted)


def steps_of(job: Job) -> list[int]:
    return [line["step"] for line in read_losses(job.output.losses)]


METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"method": "lora", "ema": {"enabled": True}},
    "nf4": {"method": "lora", "trainTextEncoder": False, "quantization": "nf4"},
    "dora": {"method": "lora", "trainTextEncoder": False, "lora": {"useDora": True}},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_finished_run_continues_as_if_it_had_had_all_steps(method: str, tiny_training: Path) -> None:
    training = {**METHODS[method], "steps": 5}
    job = job_of(tiny_training, f"more-{method}", training=training, checkpoints=KEPT)
    assert job.finish() == 0
    (kept,) = job.output.checkpoints.iterdir()
    found = read(kept)
    assert found is not None and found.step == 5
    digest = job.termination["result"]["digest"]
    more = with_section(job, training={"steps": 9})
    assert more.finish() == 0
    assert more.log.read_text().count("train: started") == 2
    assert steps_of(more) == list(range(1, 10))
    assert job.termination["result"]["digest"] != digest
    assert [path.name for path in job.output.checkpoints.iterdir()] == ["step-00000009"]
    whole = job_of(tiny_training, f"whole-{method}", training={**training, "steps": 9})
    assert whole.finish() == 0
    assert equal(more, whole)


@pytest.mark.slow
def test_an_unfinished_run_continues_with_more_steps_and_processes(tiny_training: Path) -> None:
    job = interrupted(
        job_of(tiny_training, "more-while-unfinished", training={"steps": 100}, checkpoints={"intervalSeconds": 600})
    )
    begun = steps_of(job)[-1]
    assert begun < 100
    lower = with_section(job, training={"steps": begun})
    assert lower.finish() == InvalidConfig.exit_code
    assert "Give 100 or more, or choose another output folder" in job.termination["message"]
    more = with_section(job, training={"steps": 120, "lrScheduler": "constant"})
    assert [wait(process) for process in more.start_ranks()] == [0, 0], more.log.read_text()
    assert steps_of(more) == list(range(1, 121))
    assert job.termination["result"]["identifier"] == "sks"
    # The folder holds a run of 120 steps now.
    assert job.finish() == InvalidConfig.exit_code


@pytest.mark.slow
def test_the_learning_rate_follows_the_schedule_of_all_steps(tiny_training: Path) -> None:
    training = {"steps": 4, "lrScheduler": "linear", "learningRate": 1e-3}
    job = job_of(tiny_training, "more-linear", training=training, checkpoints=KEPT)
    assert job.finish() == 0
    more = with_section(job, training={"steps": 8})
    assert more.finish() == 0
    rates = [line["learningRate"] for line in read_losses(job.output.losses)]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3, 0.5e-3, 0.375e-3, 0.25e-3, 0.125e-3])


@pytest.mark.slow
class TestAFinishedRunWithoutItsLastState:
    def test_refuses_more_steps_and_is_not_changed(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "more-refused")
        assert job.finish() == 0
        before = job.exported()
        assert with_section(job, training={"steps": 12}, checkpoints=KEPT).finish() == InvalidConfig.exit_code
        said = job.termination["message"]
        assert "spec.training.steps: 12 can't continue the 6 steps of the run in" in said
        assert "because no checkpoint of it is left" in said
        assert job.output.complete.exists()
        assert all(torch.equal(tensor, before[name]) for name, tensor in job.exported().items())
        assert job.finish() == 0

    def test_refuses_them_also_if_its_checkpoint_is_damaged(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "more-damaged", checkpoints=KEPT)
        assert job.finish() == 0
        file = next(job.output.checkpoints.glob("step-*/*.safetensors"))
        file.write_bytes(file.read_bytes()[:-4] + b"lost")
        assert with_section(job, training={"steps": 9}).finish() == InvalidConfig.exit_code
        assert "no checkpoint of it is left" in job.termination["message"]


@pytest.mark.slow
def test_a_kept_state_is_exported_in_another_format_without_training(tiny_training: Path) -> None:
    job = job_of(tiny_training, "kept-exported", checkpoints=KEPT)
    assert job.finish() == 0
    weights = job.exported()
    changed = Job(job.folder, {**job.config, "output": {"formats": ["diffusers", "single-file"]}}, job.cache)
    lines = job.output.losses.stat().st_size
    assert changed.finish() == 0
    assert (job.output.model / "model.safetensors").exists()
    assert job.output.losses.stat().st_size == lines
    found = job.exported()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert list(job.output.checkpoints.iterdir())
