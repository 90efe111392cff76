"""Runs that choose among the weights after several steps: with kills, several processes and more steps."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dreambooth_trainer.training.candidates import FILE, Candidates
from tests.trainer.test_more_steps import equal, steps_of
from tests.trainer.tiny_training import Job, distance, job_of, signal_when, wait, weights_in, with_section

EVALUATION = {"enabled": True, "contexts": ["at night", "at sea"], "otherClasses": ["cat", "car"], "perPrompt": 2}
PICTURES_OF_BASE = 8
"""Pictures of the class by the base model."""
STEPS = 12
COMPARED = [6, 9, 12]


def best(root: Path, name: str, **sections: Any) -> Job:
    """A training with a choice; arguments replace single fields of a section."""
    training = {"steps": STEPS, "stopping": "best", "ema": {"enabled": True}}
    return with_section(job_of(root, name, training=training, evaluation=EVALUATION), **sections)


def choice(job: Job) -> dict[str, Any]:
    """The choice in the result."""
    return dict(json.loads(job.output.result.read_text())["choice"])


def stored(job: Job) -> list[int]:
    """The steps whose weights are on the disk."""
    return Candidates(job.output.candidates).steps()


def weights_on_disk(job: Job) -> dict[int, dict[str, Tensor]]:
    """The stored weights by step."""
    return {step: load_file(Candidates(job.output.candidates).of(step) / FILE) for step in stored(job)}


def measured(job: Job) -> list[Path]:
    """The files of figures of steps."""
    return list(job.output.candidates.glob("step-*/figures.json"))


def assert_same(job: Job, wanted: Job) -> None:
    """Losses, figures, choice and exported weights are equal bit for bit."""
    assert job.output.losses.read_text() == wanted.output.losses.read_text()
    assert choice(job) == choice(wanted)
    assert equal(job, wanted)


def kill_when(job: Job, condition: Callable[[], bool]) -> None:
    """Starts a run and kills it as soon as a condition holds."""
    process = job.start()
    signal_when(process, signal.SIGKILL, condition)
    assert wait(process) == -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted(tiny_training: Path) -> Job:
    """A run with a choice, without interruption; not to be changed."""
    job = best(tiny_training, "best")
    assert job.finish() == 0, job.log.read_text()
    return job


@pytest.fixture(scope="module")
def weights_of_steps(tiny_training: Path) -> dict[int, dict[str, Tensor]]:
    """The weights that the run compares, by step."""
    job = best(tiny_training, "best-measuring")
    kill_when(job, lambda: bool(measured(job)))
    return weights_on_disk(job)


@pytest.mark.slow
class TestAChoice:
    def test_is_in_every_result(self, uninterrupted: Job) -> None:
        chosen = choice(uninterrupted)
        assert [one["step"] for one in chosen["candidates"]] == COMPARED
        assert chosen["step"] in COMPARED
        assert uninterrupted.termination["result"]["step"] == chosen["step"]
        report = uninterrupted.output.report.read_text()
        assert f"Step {chosen['step']} of {STEPS}" in report
        assert f"Step {chosen['step']} of {STEPS}" in uninterrupted.log.read_text()
        assert report.count("<svg") == 3 + 4  # KEEP is not compared.

    def test_leaves_no_weights_of_other_steps(self, uninterrupted: Job) -> None:
        assert not uninterrupted.output.candidates.exists()
        assert not uninterrupted.output.weights.exists()

    def test_compares_the_weights_of_the_steps_that_a_run_without_it_takes(
        self, uninterrupted: Job, weights_of_steps: dict[int, dict[str, Tensor]], tiny_training: Path
    ) -> None:
        last = best(tiny_training, "last", training={"stopping": "last"})
        assert last.finish() == 0
        assert last.output.losses.read_text() == uninterrupted.output.losses.read_text()
        assert json.loads(last.output.result.read_text())["choice"] is None
        assert last.termination["result"]["step"] == STEPS
        assert list(weights_of_steps) == COMPARED
        weights, exported = weights_of_steps[STEPS], last.exported()
        assert [name for name, tensor in weights.items() if not torch.equal(tensor, exported[name])] == []

    def test_is_the_model_of_a_run_with_as_many_steps(self, uninterrupted: Job, tiny_training: Path) -> None:
        step = choice(uninterrupted)["step"]
        short = best(tiny_training, "short", training={"steps": step, "stopping": "last"})
        assert short.finish() == 0
        assert equal(short, uninterrupted)

    def test_can_be_made_with_adapters(self, tiny_training: Path) -> None:
        job = best(tiny_training, "best-lora", training={"method": "lora"})
        assert job.finish() == 0, job.log.read_text()
        assert len(choice(job)["candidates"]) == len(COMPARED)
        assert (job.output.model / "lora").is_dir()


@pytest.mark.slow
class TestKilled:
    @pytest.mark.parametrize("step", [6, 9])
    def test_after_the_weights_of_a_step(self, uninterrupted: Job, tiny_training: Path, step: int) -> None:
        job = best(tiny_training, f"killed-at-{step}")
        kill_when(job, lambda: step in stored(job))
        assert job.finish() == 0, job.log.read_text()
        assert_same(job, uninterrupted)

    @pytest.mark.parametrize("count", [1, 2])
    def test_while_a_step_is_measured(self, uninterrupted: Job, tiny_training: Path, count: int) -> None:
        job = best(tiny_training, f"killed-measuring-{count}")
        kill_when(job, lambda: len(measured(job)) >= count)
        done = len(measured(job))
        assert stored(job) == COMPARED
        assert job.finish() == 0, job.log.read_text()
        assert job.log.read_text().count("train: started") == 1
        # The figures of the first steps are not measured again.
        *_, (before, total) = re.findall(r"choose: started, (\d+)/(\d+) pictures", job.log.read_text())
        remaining, of_steps = int(total) - int(before), int(total) - PICTURES_OF_BASE
        assert remaining * len(COMPARED) == of_steps * (len(COMPARED) - done)
        assert_same(job, uninterrupted)

    def test_after_the_choice(self, uninterrupted: Job, tiny_training: Path) -> None:
        job = best(tiny_training, "killed-chosen")
        kill_when(job, (job.output.state / "choose.json").exists)
        assert job.finish() == 0, job.log.read_text()
        assert job.log.read_text().count("train: started") == 1
        assert_same(job, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_processes_compare_the_same_weights(
    uninterrupted: Job, weights_of_steps: dict[int, dict[str, Tensor]], tiny_training: Path, stage: int
) -> None:
    """They are killed while they measure them."""
    job = best(tiny_training, f"best-of-two-{stage}", deepspeed={"zeroStage": stage})
    processes = job.start_ranks()
    signal_when(processes[0], signal.SIGKILL, lambda: bool(measured(job)))
    processes[1].kill()
    for process in processes:
        wait(process)
    found = weights_on_disk(job)
    assert list(found) == COMPARED
    # Sums over processes are rounded in another order.
    assert all(distance(found[step], weights_of_steps[step]) < 1e-4 for step in COMPARED)
    assert [wait(process) for process in job.start_ranks()] == [0, 0], job.log.read_text()
    for one, other in zip(choice(job)["candidates"], choice(uninterrupted)["candidates"], strict=True):
        assert one["step"] == other["step"]
        assert one["figures"]["subj"] == pytest.approx(other["figures"]["subj"], abs=0.01)


@pytest.mark.slow
class TestAFinishedRun:
    def test_continues_among_the_chosen_step_and_later_ones(self, tiny_training: Path) -> None:
        job = best(tiny_training, "best-continued", checkpoints={"keepLast": True})
        assert job.finish() == 0, job.log.read_text()
        first = choice(job)
        assert stored(job) == [first["step"]]
        more = with_section(job, training={"steps": 18})
        assert more.finish() == 0, more.log.read_text()
        assert steps_of(more) == list(range(1, 19))
        second = choice(more)
        assert [one["step"] for one in second["candidates"]] == [first["step"], 13, 18]
        assert second["candidates"][0] in first["candidates"]

    def test_keeps_its_choice_with_other_formats_and_another_evaluation(self, tiny_training: Path) -> None:
        job = best(tiny_training, "best-again")
        assert job.finish() == 0, job.log.read_text()
        before, weights = choice(job), job.exported()
        changed = with_section(job, evaluation={"perPrompt": 3})
        assert changed.finish() == 0
        assert changed.log.read_text().count("train: started") == 1
        assert choice(changed) == before
        # The weights are gone, so they are trained again.
        again = Job(job.folder, {**job.config, "output": {"formats": ["diffusers", "single-file"]}}, job.cache)
        assert again.finish() == 0, again.log.read_text()
        assert choice(again) == before
        assert (again.output.model / "model.safetensors").exists()
        found = weights_in(again.output.model / "diffusers")
        assert [name for name, tensor in weights.items() if not torch.equal(found[name], tensor)] == []
