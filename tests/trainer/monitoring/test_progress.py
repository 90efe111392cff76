import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_api.progress import Event, Snapshot
from dreambooth_trainer.monitoring.progress import PHASES, SCENE, Progress
from tests.patience import PATIENCE


class FakeClock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def progress(clock: FakeClock) -> Progress:
    return Progress(clock=clock, now=clock.now)


def states(progress: Progress) -> dict[str, str]:
    return {phase.name: phase.state for phase in progress.snapshot().phases}


def test_before_the_first_phase_everything_is_pending(progress: Progress) -> None:
    snapshot = progress.snapshot()
    assert [phase.name for phase in snapshot.phases] == list(PHASES)
    assert set(states(progress).values()) == {"pending"}
    assert (snapshot.phase, snapshot.percent, snapshot.step, snapshot.total_steps) == (None, 0, 0, None)
    assert snapshot.current is None


def test_a_scene_has_phases_of_its_own(clock: FakeClock) -> None:
    progress = Progress(shares=SCENE, clock=clock, now=clock.now)
    progress.update(step=40, total_steps=400)
    with progress.phase("load"):
        pass
    with progress.phase("generate", total=8, unit="pictures", done=2) as phase:
        clock.seconds += 4
        phase.advance(2)
        snapshot = progress.snapshot()
    assert states(progress) == {"load": "done", "generate": "done"}
    assert (snapshot.phase, snapshot.percent, snapshot.step, snapshot.total_steps) == ("generate", 55, 40, 400)
    assert snapshot.current is not None and (snapshot.current.done, snapshot.current.total) == (4, 8)
    assert (snapshot.eta_seconds, progress.snapshot().percent) == (8, 100)


def test_a_phase_runs_and_is_done(progress: Progress, clock: FakeClock) -> None:
    with progress.phase("cache", total=10, unit="images") as phase:
        clock.seconds += 4
        phase.advance(5)
        running = progress.snapshot().current
        clock.seconds += 4
        phase.advance(5)
    ended = progress.snapshot().current
    clock.seconds += 100
    assert running and (running.name, running.state, running.done, running.seconds) == ("cache", "running", 5, 4)
    assert ended and (ended.state, ended.done, ended.total, ended.unit) == ("done", 10, 10, "images")
    assert progress.snapshot().phases[2].seconds == 8


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_phase_that_raises_has_failed(progress: Progress, error: type[BaseException]) -> None:
    with pytest.raises(error), progress.phase("export"):
        raise error
    assert states(progress)["export"] == "failed"
    assert progress.snapshot().percent == 0


def test_training_figures(progress: Progress) -> None:
    with progress.phase("train", total=400, unit="steps", done=100) as phase:
        phase.advance(loss=0.12, prior_loss=0.1, learning_rate=1e-4, grad_norm=0.8)
        phase.advance(loss=0.11)
    snapshot = progress.snapshot()
    assert (snapshot.step, snapshot.total_steps) == (102, 400)
    assert (snapshot.loss, snapshot.prior_loss, snapshot.learning_rate, snapshot.grad_norm) == (0.11, 0.1, 1e-4, 0.8)


def test_images_are_counted_by_their_result(progress: Progress) -> None:
    with progress.phase("prior", total=8, done=2) as prior:
        prior.advance(4, class_images_generated=4)
        prior.advance(2)
    with progress.phase("train", total=4, done=1) as train:
        train.advance(2, training_images=8)
        train.advance(1, training_images=4)
    snapshot = progress.snapshot()
    assert (snapshot.class_images.done, snapshot.class_images_generated, snapshot.training_images) == (8, 4, 12)


def test_a_late_observer_receives_later_events(progress: Progress) -> None:
    events: list[Event] = []
    with progress.phase("prior") as phase:
        progress.observe(lambda event, _: events.append(event))
        phase.advance()
    assert events == ["advance", "end"]


def test_speed_and_time_left_count_only_this_start(progress: Progress, clock: FakeClock) -> None:
    with progress.phase("train", total=400, unit="steps", done=300) as phase:
        assert progress.snapshot().eta_seconds is None
        for _ in range(20):
            clock.seconds += 0.5
            phase.advance()
        snapshot = progress.snapshot()
        assert (snapshot.steps_per_second, snapshot.eta_seconds) == (2.0, 40.0)
    assert progress.snapshot().steps_per_second is None
    assert progress.snapshot().eta_seconds is None


def test_speed_forgets_a_slow_start(progress: Progress, clock: FakeClock) -> None:
    with progress.phase("train", total=100) as phase:
        clock.seconds += 60
        phase.advance()
        for _ in range(50):
            clock.seconds += 1
            phase.advance()
        assert progress.snapshot().steps_per_second == 1


def test_the_time_left_is_that_of_the_running_phase(progress: Progress, clock: FakeClock) -> None:
    with progress.phase("prior", total=200, unit="images", done=40) as phase:
        clock.seconds += 2
        phase.advance(16)
        snapshot = progress.snapshot()
    assert snapshot.eta_seconds == 18
    assert snapshot.steps_per_second is None
    assert (snapshot.class_images.done, snapshot.class_images.total) == (56, 200)


def test_totals_announced_early_serve_phases_that_are_skipped_or_start_later(progress: Progress) -> None:
    progress.update(total_steps=400, class_images=200)
    progress.skip("prior")
    snapshot = progress.snapshot()
    assert states(progress)["prior"] == "skipped"
    assert (snapshot.class_images.done, snapshot.total_steps) == (200, 400)
    with progress.phase("train"):
        assert progress.snapshot().total_steps == 400


def test_facts_are_kept(progress: Progress) -> None:
    progress.update(identifier="sks")
    progress.update(device="cpu")
    snapshot = progress.snapshot()
    assert (snapshot.identifier, snapshot.device) == ("sks", "cpu")


def test_percent_weighs_the_phases(progress: Progress) -> None:
    progress.skip("prepare")
    assert progress.snapshot().percent == 1
    with progress.phase("prior", total=100, done=20):
        assert progress.snapshot().percent == 1 + 25 * 0.2


def test_a_finished_run_is_at_100_percent(progress: Progress) -> None:
    for name in PHASES:
        with progress.phase(name):
            pass
    assert progress.snapshot().percent == 100


@given(
    st.lists(st.tuples(st.sampled_from(PHASES), st.none() | st.integers(1, 5), st.lists(st.integers(0, 9), max_size=5)))
)
def test_percent_never_falls(runs: list[tuple[str, int | None, list[int]]]) -> None:
    percents: list[float] = []
    progress = Progress([lambda _, snapshot: percents.append(snapshot.percent)])
    for name, total, advances in runs:
        with progress.phase(name, total=total) as phase:  # type: ignore[arg-type]
            for count in advances:
                phase.advance(count)
    assert percents == sorted(percents)
    assert all(0 <= percent <= 100 for percent in percents)


def test_observers_are_called_in_order(clock: FakeClock) -> None:
    events: list[tuple[Event, str | None, str]] = []

    def observe(event: Event, snapshot: Snapshot) -> None:
        assert snapshot.current
        events.append((event, snapshot.phase, snapshot.current.state))

    progress = Progress([observe], clock=clock)
    progress.skip("prior")
    with progress.phase("train", total=1) as phase:
        phase.advance()
    assert events == [
        ("end", "prior", "skipped"),
        ("start", "train", "running"),
        ("advance", "train", "running"),
        ("end", "train", "done"),
    ]


def test_an_observer_may_read_the_progress() -> None:
    seen: list[Snapshot] = []
    run: Progress = Progress([lambda *_: seen.append(run.snapshot())])
    run.skip("cache")
    assert seen[0].phase == "cache"


def test_the_json_is_camel_case_with_rfc_3339_times(progress: Progress, clock: FakeClock) -> None:
    clock.seconds += 5
    with progress.phase("train", total=4) as phase:
        phase.advance(loss=float("nan"), prior_loss=0.5)
    content = json.loads(progress.snapshot().model_dump_json())
    assert content["schemaVersion"] == 1
    assert (content["startedAt"], content["updatedAt"]) == ("2026-01-01T00:01:40Z", "2026-01-01T00:01:45Z")
    assert (content["totalSteps"], content["loss"], content["priorLoss"]) == (4, None, 0.5)
    assert set(content["classImages"]) == {"done", "total"}


def test_every_field_of_the_schema_is_described() -> None:
    schema = Snapshot.model_json_schema(mode="serialization")
    models = [schema, *schema["$defs"].values()]
    assert [name for model in models for name, field in model["properties"].items() if "description" not in field] == []


def test_idle_time_counts_from_the_last_report(progress: Progress, clock: FakeClock) -> None:
    clock.seconds += 7
    assert progress.idle_seconds() == 7
    progress.update()
    assert progress.idle_seconds() == 0


def test_memory_of_this_process_is_reported(progress: Progress) -> None:
    before = progress.snapshot().memory_bytes
    ballast = bytearray(b"x" * 64_000_000)
    assert progress.snapshot().memory_bytes - before > 0.9 * len(ballast)


def test_readers_in_other_threads_see_consistent_snapshots() -> None:
    halfway, go_on = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread().name == "writer":
            halfway.set()
            go_on.wait(PATIENCE)
        return 0.0

    progress = Progress(clock=clock)
    with progress.phase("prior", total=2) as phase, ThreadPoolExecutor(1) as readers:
        writer = threading.Thread(target=phase.advance, name="writer")
        writer.start()
        assert halfway.wait(PATIENCE)
        reading = readers.submit(progress.snapshot)
        with pytest.raises(TimeoutError):
            reading.result(timeout=0.2)
        go_on.set()
        assert reading.result(timeout=PATIENCE).percent == 12.5
        writer.join()


def test_torch_stays_unloaded() -> None:
    code = "import sys, dreambooth_trainer.monitoring.progress as p; p.Progress().snapshot(); print('torch' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "False"


def test_each_phase_that_has_ended_has_its_memory(progress: Progress) -> None:
    with progress.phase("prepare", total=1) as phase:
        content = bytearray(50_000_000)
        phase.advance(1)
        del content
    with progress.phase("prior"):
        assert progress.memory().keys() == {"prepare"}
    progress.skip("cache")
    assert progress.memory().keys() == {"prepare", "prior"}
    assert progress.memory()["prepare"] > 50_000_000


@pytest.mark.gpu
def test_each_phase_has_its_own_peak_on_a_gpu(progress: Progress) -> None:
    with progress.phase("prior"):
        torch.empty(25_000_000, device="cuda")
    with progress.phase("cache"):
        torch.empty(1_000, device="cuda")
    assert progress.memory()["prior"] >= 100_000_000 > progress.memory()["cache"]
    assert (progress.snapshot().device_memory_bytes or 0) >= 100_000_000


@pytest.mark.gpu
def test_device_memory_is_reported_if_there_is_a_device(progress: Progress) -> None:
    torch.empty(1_000_000, device="cuda")
    assert (progress.snapshot().device_memory_bytes or 0) >= 4_000_000


def test_warnings_are_bounded_and_kept(progress: Progress) -> None:
    progress.update(warnings=["a\x1b[2J.jpg is small", "x" * 400, *map(str, range(20))])
    progress.update(identifier="sks")
    found = progress.snapshot().warnings
    assert found[:2] == [r"a\x1b[2J.jpg is small", "x" * 297 + "..."]
    assert len(found) == 10
