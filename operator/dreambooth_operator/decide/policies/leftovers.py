"""Finds pods and Jobs that may still write to the folder of the run, so the next attempt must wait for their end."""

from collections.abc import Sequence

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    attempt_of,
    is_alive,
    is_being_deleted,
    is_controlled_by,
    is_finished,
    name_of,
    uid_of,
)


def leftovers(dreamboothjob: Object, jobs: Sequence[Object], pods: Sequence[Object], name: str) -> Finding | None:
    """The first obstacle: a Job that may still create pods or has the name of the next Job, or a pod that has not ended.

    Args:
        dreamboothjob: the DreamBoothJob.
        jobs: all Jobs with the label of its name, including those of an earlier DreamBoothJob.
        pods: all pods with the label of its name.
        name: name of the Job to create.
    """
    waiting = [f"Job {name_of(job)}" for job in jobs if _blocks(job, dreamboothjob, name)]
    waiting += [f"Pod {name_of(pod)}" for pod in pods if is_alive(pod)]
    return reasons.LEFTOVERS(leftovers=waiting[0]) if waiting else None


def _blocks(job: Object, dreamboothjob: Object, name: str) -> bool:
    if (
        is_controlled_by(job, uid_of(dreamboothjob))
        and attempt_of(job) is not None
        and is_finished(job)
        and not is_being_deleted(job)
    ):
        return False
    return name_of(job) == name or not is_finished(job)
