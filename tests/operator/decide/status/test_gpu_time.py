from typing import Any

import pytest

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.status.gpu_time import GpuTime, gpu_time
from tests.operator.pieces import at, ended, failed_pod, holding, pod, running

HELD = DreamBoothJobStatus(gpu_seconds=5, gpus_held_since=at(0), start_time=at(0))
FREE = DreamBoothJobStatus(gpu_seconds=5, start_time=at(0))
NEW = DreamBoothJobStatus()

PENDING = pod("Pending", started=None)
PULLING = pod("Pending", started=20)
RUNS = pod("Running", running(), started=30)
OVER = pod("Succeeded", ended(0, after=60), started=30)
REJECTED = pod("Failed", started=10, reason="OutOfcpu")
LOST = pod("Failed", running(), started=30, conditions=[holding("DisruptionTarget", 90, reason="DeletionByPodGC")])


@pytest.mark.parametrize(
    ("before", "pods", "expected"),
    [
        (NEW, [], (0, None)),
        (NEW, [PENDING], (0, None)),
        (NEW, [PULLING], (0, 20)),
        (NEW, [RUNS, PULLING], (0, 20)),
        (HELD, [RUNS], (5, 0)),
        (HELD, [OVER, RUNS], (5, 0)),
        (HELD, [OVER], (5 + 60 * 2, None)),
        (HELD, [OVER, failed_pod(9, after=70)], (5 + 70 * 2, None)),
        (HELD, [OVER, PENDING], (5 + 60 * 2, None)),
        (HELD, [], (5 + 100 * 2, None)),
        (HELD, [LOST], (5 + 90 * 2, None)),
        (HELD, [REJECTED], (5 + 100 * 2, None)),
        (FREE, [OVER], (5, None)),
        (FREE, [OVER, RUNS], (5, 30)),
    ],
)
def test_a_period_is_added_when_no_pod_holds_gpus(
    before: DreamBoothJobStatus, pods: list[dict[str, Any]], expected: tuple[int, float | None]
) -> None:
    seconds, since = expected
    assert gpu_time(before, pods, 2, at(100)) == GpuTime(seconds, None if since is None else at(since))


def test_pods_that_ended_before_the_period_do_not_end_it() -> None:
    before = DreamBoothJobStatus(gpus_held_since=at(80), start_time=at(0))
    assert gpu_time(before, [OVER], 1, at(100)) == GpuTime(20, None)


def test_the_first_attempt_counts_even_if_it_was_not_observed() -> None:
    assert gpu_time(NEW, [OVER], 2, at(100)) == GpuTime(60, None)
    assert gpu_time(NEW, [OVER, pod("Running", running(), started=70)], 2, at(100)) == GpuTime(0, at(30))


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([REJECTED], (0, None)),
        ([REJECTED, PENDING], (0, None)),
        ([REJECTED, RUNS], (0, 30)),
        ([REJECTED, OVER], (30 * 2, None)),
        ([LOST], (60 * 2, None)),
    ],
)
def test_pods_that_were_not_observed_count_only_while_they_ran(
    pods: list[dict[str, Any]], expected: tuple[int, float | None]
) -> None:
    seconds, since = expected
    assert gpu_time(NEW, pods, 2, at(100)) == GpuTime(seconds, None if since is None else at(since))


@pytest.mark.parametrize("pods", [[RUNS], [OVER], []])
def test_a_job_without_gpus_uses_none(pods: list[dict[str, Any]]) -> None:
    assert gpu_time(NEW, pods, 0, at(100)) == GpuTime(0, None)
