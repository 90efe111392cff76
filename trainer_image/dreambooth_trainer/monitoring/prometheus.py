"""The run's figures in Prometheus' terms, read from a snapshot whenever `/metrics` is asked for (`server.py`)."""

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from dreambooth_api.progress import Event, PhaseState, Snapshot
from dreambooth_trainer.monitoring.progress import Progress

_PREFIX = "dreambooth_trainer"


def registry_of(progress: Progress) -> CollectorRegistry:
    """A registry with the metrics of one run and nothing else; steps are timed from now on."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_RunCollector(progress))
    progress.observe(_StepTimes(registry))
    return registry


class _RunCollector(Collector):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def collect(self) -> Iterator[Metric]:
        return families(self._progress.snapshot())


class _StepTimes:
    """An observer of the run. What lies between two reports, pauses for checkpoints included, is shared out evenly."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histogram = Histogram(
            f"{_PREFIX}_step_seconds",
            "Time from one optimizer step to the next.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self._done = 0
        self._seconds = 0.0

    def __call__(self, event: Event, snapshot: Snapshot) -> None:
        phase = snapshot.current
        if phase is None or phase.name != "train" or event == "end":
            return
        steps, seconds = phase.done - self._done, phase.seconds - self._seconds
        self._done, self._seconds = phase.done, phase.seconds
        if event == "advance":
            for _ in range(steps):
                self._histogram.observe(seconds / steps)


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """The metrics of a snapshot; those whose value isn't known have no sample.

    Steps and images are gauges: a run that goes on from a checkpoint may start below where the last one ended.
    """
    yield InfoMetricFamily(
        _PREFIX, "The run.", {"identifier": snapshot.identifier or "", "device": snapshot.device or ""}
    )
    yield _gauge("progress_ratio", "Share of the whole run that is done.", snapshot.percent / 100)
    yield _gauge("step", "Optimizer steps done, those of earlier starts included.", snapshot.step)
    yield _gauge("planned_steps", "Optimizer steps of the whole training.", snapshot.total_steps)
    yield _gauge("steps_per_second", "Optimizer steps a second of this start.", snapshot.steps_per_second)
    losses = [(("subject",), snapshot.loss), (("class",), snapshot.prior_loss)]
    yield _gauges("loss", "Loss of the last step, by the pictures it is of.", ["kind"], losses)
    yield _gauge("learning_rate", "Learning rate of the denoiser at the last step.", snapshot.learning_rate)
    yield _gauge("gradient_norm", "Global norm of the gradients before clipping.", snapshot.grad_norm)
    images = CounterMetricFamily(
        f"{_PREFIX}_training_images", "Photos and class images that the training steps of this start took."
    )
    images.add_metric([], snapshot.training_images)
    yield images
    yield _gauge("class_images", "Class images there are, drawn or found.", snapshot.class_images.done)
    results = {
        "drawn": snapshot.class_images_drawn,
        "hit": snapshot.class_images.done - snapshot.class_images_drawn,
    }
    cached = CounterMetricFamily(
        f"{_PREFIX}_prior_cache_images",
        "Class images of this start: found in the shared cache, or drawn by this process.",
        labels=["result"],
    )
    for result, count in results.items():
        cached.add_metric([result], count)
    yield cached
    yield _gauge("planned_class_images", "Class images wanted.", snapshot.class_images.total)
    states = [
        ((phase.name, state), float(phase.state == state))
        for phase in snapshot.phases
        for state in get_args(PhaseState)
    ]
    yield _gauges("phase_state", "1 for the state that each phase is in.", ["phase", "state"], states)
    seconds = [((phase.name,), phase.seconds) for phase in snapshot.phases]
    yield _gauges("phase_duration_seconds", "Time that each phase has taken in this start.", ["phase"], seconds)
    yield _gauge("eta_seconds", "Time until the phase that runs will be done.", snapshot.eta_seconds)
    yield _gauge("resident_memory_bytes", "Resident memory of the process.", snapshot.memory_bytes)
    yield _gauge(
        "device_memory_peak_bytes", "Peak of the memory allocated on the device.", snapshot.device_memory_bytes
    )
    yield _gauge(
        "last_update_timestamp_seconds", "When the run last reported anything.", snapshot.updated_at.timestamp()
    )


def _gauge(name: str, documentation: str, value: float | None) -> Metric:
    return _gauges(name, documentation, [], [((), value)])


def _gauges(
    name: str, documentation: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float | None]]
) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", documentation, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family
