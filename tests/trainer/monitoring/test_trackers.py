"""What TensorBoard and Weights & Biases get to see of a run, and that a run does not fail for them."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.training import TrainConfig, Wandb
from dreambooth_trainer import extras
from dreambooth_trainer.extras import missing_libraries
from dreambooth_trainer.monitoring.tensorboard import TensorBoard
from dreambooth_trainer.monitoring.trackers import Tracker, Trackers
from dreambooth_trainer.monitoring.weights_and_biases import WeightsAndBiases
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.trainer.monitoring.event_files import events_in, history_in, scalars_in
from tests.trainer.tiny_training import Job, finish, interrupted, job_of, killed, with_section

Value = TypeVar("Value")
CANARY = "0123456789abcdef0123456789abcdef01234567"
"""An API key of Weights & Biases."""


def lines(*steps: int) -> list[dict[str, float | None]]:
    return [
        {"step": step, "loss": step / 2, "priorLoss": 0.25, "learningRate": 1e-4, "gradNorm": None} for step in steps
    ]


class TestTensorBoard:
    def test_has_the_numbers_of_each_step(self, tmp_path: Path) -> None:
        tracker = TensorBoard(tmp_path)
        tracker.begin(0, [])
        tracker.steps(lines(1, 2))
        found = scalars_in(tmp_path / "training")
        assert found["loss/photos"] == [(1, 0.5), (2, 1.0)]
        assert found["training/learning-rate"] == [(1, pytest.approx(1e-4)), (2, pytest.approx(1e-4))]
        assert "training/gradient-norm" not in found

    @pytest.mark.parametrize("checkpoint", [0, 2])
    def test_shows_steps_that_are_repeated_once(self, tmp_path: Path, checkpoint: int) -> None:
        killed_start = TensorBoard(tmp_path)
        killed_start.begin(0, [])
        killed_start.steps(lines(1, 2, 3, 4))
        resumed = TensorBoard(tmp_path)
        resumed.begin(checkpoint, lines(*range(1, checkpoint + 1)))
        resumed.steps(lines(*range(checkpoint + 1, 7)))
        assert [step for step, _ in scalars_in(tmp_path / "training")["loss/photos"]] == [1, 2, 3, 4, 5, 6]

    def test_has_earlier_steps_if_it_is_asked_for_later(self, tmp_path: Path) -> None:
        tracker = TensorBoard(tmp_path)
        tracker.begin(2, lines(1, 2))
        tracker.steps(lines(3))
        assert [step for step, _ in scalars_in(tmp_path / "training")["loss/photos"]] == [1, 2, 3]

    def test_has_pictures_by_their_prompts(self, tmp_path: Path) -> None:
        Image.new("RGB", (8, 4), "red").save(tmp_path / "a.png")
        tracker = TensorBoard(tmp_path / "events")
        tracker.begin(0, [])
        tracker.pictures(5, {"a sks dog, at night": tmp_path / "a.png"})
        (shown,) = events_in(tmp_path / "events" / "training").Images("pictures/00-a-sks-dog-at-night")
        assert (shown.step, shown.width, shown.height) == (5, 8, 4)

    def test_has_only_the_last_results(self, tmp_path: Path) -> None:
        Image.new("RGB", (8, 4)).save(tmp_path / "sheet.png")
        for subj in (0.5, 0.75):
            TensorBoard(tmp_path / "events").results(6, {"subj": subj}, {"samples": tmp_path / "sheet.png"})
        folder = tmp_path / "events" / "results"
        assert scalars_in(folder) == {"figures/subj": [(6, 0.75)]}
        assert [one.step for one in events_in(folder).Images("sheets/samples")] == [6]


class TestWeightsAndBiases:
    @pytest.mark.slow
    def test_offline_has_numbers_pictures_and_figures(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", CANARY)
        Image.new("RGB", (8, 4)).save(tmp_path / "a.png")
        tracker = WeightsAndBiases(Wandb(project="dogs"), tmp_path, {"training": {"steps": 2}})
        tracker.begin(0, [])
        tracker.steps(lines(1, 2))
        tracker.pictures(2, {"a sks dog": tmp_path / "a.png"})
        tracker.results(2, {"subj": 0.75}, {"samples": tmp_path / "a.png"})
        tracker.close()
        (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
        # The service of the library completes the file after the end of the run.
        logged = wait_for(lambda: found if "sheets/samples.size" in (found := history_in(file)) else {})
        assert logged["loss/photos"] == [(1, 0.5), (2, 1.0)]
        assert {"pictures/a sks dog.size", "sheets/samples.size"} <= logged.keys()
        assert b"figures/subj" in file.read_bytes()
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


class Broken:
    """A tracker that fails when it is told of steps."""

    def __init__(self) -> None:
        self.told = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            self.told += 1
            raise OSError(f"the server refused {CANARY}\nand more")

        return fail


class TestAFailure:
    def test_is_a_warning_without_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_API_KEY", CANARY)
        heard: list[str] = []
        broken = Broken()
        trackers = Trackers({"monitoring.wandb": lambda: broken}, heard.append)  # type: ignore[dict-item,return-value]
        for _ in range(3):
            trackers.tell(lambda one: one.steps(lines(1)))
        trackers.close()
        assert broken.told == 1
        assert heard == trackers.warnings
        (warning,) = heard
        assert warning.startswith("monitoring.wandb failed") and "OSError: the server refused ***" in warning

    def test_does_not_affect_other_trackers(self, tmp_path: Path) -> None:
        def refuse() -> Tracker:
            raise ConnectionError("no network")

        openers = {"monitoring.wandb": refuse, "monitoring.tensorboard": lambda: TensorBoard(tmp_path)}
        trackers = Trackers(openers, lambda _: None)
        trackers.tell(lambda one: one.begin(0, []))
        trackers.tell(lambda one: one.steps(lines(1)))
        trackers.close()
        assert "loss/photos" in scalars_in(tmp_path / "training")
        assert len(trackers.warnings) == 1


@pytest.mark.parametrize(
    ("monitoring", "extra"), [({"tensorboard": True}, "tensorboard"), ({"wandb": {"project": "dogs"}}, "wandb")]
)
def test_a_missing_library_is_named_with_its_extra(
    tiny_training: Path, monkeypatch: pytest.MonkeyPatch, monitoring: dict[str, object], extra: str
) -> None:
    config = TrainConfig.model_validate({**job_of(tiny_training, "none").config, "monitoring": monitoring})
    assert not list(missing_libraries(config))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    (problem,) = missing_libraries(config)
    assert problem.field == f"spec.monitoring.{extra}" and f"--extra {extra}" in problem.remedy


def tags_shown_on(port: int) -> dict[str, dict[str, object]]:
    """The tags of scalars by run that TensorBoard serves; empty as long as it has none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=10) as response:
            return dict(json.load(response))
    except OSError:
        return {}


def wait_for(look: Callable[[], dict[str, Value]]) -> dict[str, Value]:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "nothing is shown"
        time.sleep(0.2)
    return found


def steps_of(job: Job) -> list[int]:
    return [step for step, _ in scalars_in(job.output.tensorboard / "training")["loss/photos"]]


@pytest.mark.slow
class TestARun:
    def test_that_is_killed_and_resumed_shows_each_step_once(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "killed-with-events", training={"steps": 40})
        job = killed(with_section(job, monitoring={"tensorboard": True}))
        assert job.finish() == 0, job.log.read_text()
        assert json.loads((job.output.state / "train.json").read_text())["result"]["resumedAt"] > 0
        assert steps_of(job) == list(range(1, 41))
        losses = [json.loads(line)["loss"] for line in job.output.losses.read_text().splitlines()]
        shown = scalars_in(job.output.tensorboard / "training")["loss/photos"]
        assert [value for _, value in shown] == pytest.approx(losses)

    def test_that_is_stopped_has_its_steps_and_pictures(self, tiny_training: Path) -> None:
        job = job_of(tiny_training, "stopped-with-events", training={"steps": 6}, samples={"everySteps": 2})
        job = interrupted(with_section(job, monitoring={"tensorboard": True, "wandb": {"project": "dogs"}}))
        assert job.finish() == 0, job.log.read_text()
        events = events_in(job.output.tensorboard / "training")
        assert [one.step for one in events.Images("pictures/00-a-sks-dog")] == [2, 4, 6]
        assert steps_of(job) == list(range(1, 7))
        assert events_in(job.output.tensorboard / "results").Tags()["images"] == ["sheets/samples"]
        starts = [history_in(file) for file in job.output.root.glob("wandb/offline-run-*/*.wandb")]
        assert len(starts) == 2
        assert sorted({step for start in starts for step, _ in start["loss/photos"]}) == list(range(1, 7))

    def test_is_shown_by_tensorboard(self, tiny_training: Path) -> None:
        """`tensorboard --logdir runs`, as in docs/monitoring.md."""
        runs, port = tiny_training / "runs", free_port()
        job = job_of(runs.parent, "runs", training={"steps": 3})
        assert with_section(job, monitoring={"tensorboard": True}).finish() == 0
        program = Path(sys.executable).with_name("tensorboard")
        command = [program, "--logdir", str(runs), "--port", str(port)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                tags = wait_for(lambda: tags_shown_on(port))
            finally:
                server.terminate()
        assert "loss/photos" in tags["output/tensorboard/training"]

    def test_ends_with_a_warning_if_the_service_can_not_be_reached(self, tiny_training: Path) -> None:
        job = with_section(
            job_of(tiny_training, "no-service"), monitoring={"wandb": {"project": "dogs", "mode": "online"}}
        )
        # A port on which nothing listens; the library tries for a minute.
        assert job.finish(WANDB_API_KEY=CANARY, WANDB_BASE_URL="http://127.0.0.1:9") == 0
        assert "warning: monitoring.wandb failed" in job.log.read_text()
        assert any("monitoring.wandb failed" in one for one in job.termination["warnings"])
        assert not [path for path in job.folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]

    def test_does_not_begin_without_the_library(self, tiny_training: Path) -> None:
        job = with_section(job_of(tiny_training, "no-library"), monitoring={"tensorboard": True})
        hidden = "import runpy, sys; sys.modules['tensorboardX'] = None; runpy.run_module('dreambooth_trainer', None, '__main__')"
        code, said = finish(["-c", hidden, *job.arguments()])
        assert code == InvalidConfig.exit_code and "--extra tensorboard" in said
