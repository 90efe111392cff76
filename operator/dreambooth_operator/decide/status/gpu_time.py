"""Computes GPU-seconds: the time for which pods hold GPUs, multiplied by the number of GPUs.

They are added at the end of each period in which a pod holds GPUs, so a running workload needs no status updates for them.
`gpusHeldSince` is the start of the current period.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from dreambooth_api.status import WorkloadStatus
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    condition_of,
    earliest,
    finished_at,
    is_alive,
    latest,
    pod_started_at,
    time_of,
)


class GpuTime(NamedTuple):
    """GPU time in the status."""

    seconds: int
    """GPU-seconds of all past periods."""
    since: datetime | None
    """Start of the current period."""


def gpu_time(before: WorkloadStatus, pods: Sequence[Object], gpus: int, now: datetime) -> GpuTime:
    """Updates the GPU time.

    Args:
        before: the previous status.
        pods: all pods of the workload.
        gpus: number of GPUs of all pods of an attempt.
        now: the time, which is the end of a period if its pods no longer exist.
    """
    alive = [pod for pod in pods if is_alive(pod) and pod_started_at(pod)]
    over = [pod for pod in pods if not is_alive(pod)]
    # If an attempt started and ended while no operator was running, the status has no start time. A pod without an end time never
    # ran, because its node rejected it.
    unseen = None if before.start_time else earliest(pod_started_at(pod) for pod in over if _ended_at(pod))
    since = before.gpus_held_since or unseen
    if gpus == 0 or alive:
        first = since or earliest(map(pod_started_at, alive))
        return GpuTime(before.gpu_seconds, first if gpus else None)
    if since is None:
        return GpuTime(before.gpu_seconds, None)
    end = latest(time for time in map(_ended_at, over) if time and time >= since) or now
    return GpuTime(before.gpu_seconds + max(0, int((end - since).total_seconds())) * gpus, None)


def _ended_at(pod: Object) -> datetime | None:
    """When a pod released its GPUs: at the end of its container, or at its disruption."""
    disruption = condition_of(pod, "DisruptionTarget") or {}
    return finished_at(pod) or time_of(disruption.get("lastTransitionTime"))
