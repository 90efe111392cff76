"""GPU-seconds: how long pods held GPUs, times their number.

Told at the end of each stretch during which any pod held them, so that the status of a running job does not change for it:
until then `gpusHeldSince` says since when it goes on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from dreambooth_api.status import DreamBoothJobStatus
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
    """What is told of it."""

    seconds: int
    """Of the stretches that ended."""
    since: datetime | None
    """Begin of the stretch that goes on."""


def gpu_time(before: DreamBoothJobStatus, pods: Sequence[Object], gpus: int, now: datetime) -> GpuTime:
    """Adds what is over, and notes what goes on.

    Args:
        before: the status so far.
        pods: all pods of the job.
        gpus: GPUs of all pods of an attempt together.
        now: end of a stretch whose pods are gone.
    """
    alive = [pod for pod in pods if is_alive(pod) and pod_started_at(pod)]
    over = [pod for pod in pods if not is_alive(pod)]
    # Pods that came and went unseen, because no operator looked, are those of an attempt whose start is not on record. One that
    # does not say when it ended never ran: its node did not take it.
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
    """When a pod let its GPUs go: its container ended, or the cluster took it away, maybe with its node."""
    taken = condition_of(pod, "DisruptionTarget") or {}
    return finished_at(pod) or time_of(taken.get("lastTransitionTime"))
