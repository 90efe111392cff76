from prometheus_client import CollectorRegistry

from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.prometheus import registry_of
from tests.trainer.monitoring.test_progress import FakeClock


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"dreambooth_trainer_{name}", labels)


def test_the_time_of_a_step_includes_the_time_between_two_reports() -> None:
    clock = FakeClock()
    progress = Progress(clock=clock, now=clock.now)
    registry = registry_of(progress)
    with progress.phase("prior", total=8) as prior:
        clock.seconds += 100
        prior.advance(8)
    with progress.phase("train", total=400, done=300) as train:
        for steps, seconds in ((10, 2), (1, 40)):
            clock.seconds += seconds
            train.advance(steps)
        clock.seconds += 1000
    assert (value(registry, "step_seconds_count"), value(registry, "step_seconds_sum")) == (11, 42)
    assert value(registry, "step_seconds_bucket", le="0.25") == 10
    assert value(registry, "step_seconds_bucket", le="30.0") == 10
    assert value(registry, "step_seconds_bucket", le="60.0") == 11
