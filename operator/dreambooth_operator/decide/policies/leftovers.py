"""Who may still write to the folder of the run, so that the next start must wait."""

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


def leftovers(owner: Object, jobs: Sequence[Object], pods: Sequence[Object], name: str) -> Finding | None:
    """Live pods, Jobs that could still make some, and a Job that has the name of the next one.

    Args:
        owner: the DreamBoothJob.
        jobs: all Jobs that bear its name as their label, also of an earlier DreamBoothJob.
        pods: all such pods.
        name: name of the Job that shall be made.
    """
    waiting = [f"Job {name_of(job)}" for job in jobs if _blocks(job, owner, name)]
    waiting += [f"Pod {name_of(pod)}" for pod in pods if is_alive(pod)]
    return reasons.LEFTOVERS(leftovers=waiting[0]) if waiting else None


def _blocks(job: Object, owner: Object, name: str) -> bool:
    if (
        is_controlled_by(job, uid_of(owner))
        and attempt_of(job) is not None
        and is_finished(job)
        and not is_being_deleted(job)
    ):
        return False
    return name_of(job) == name or not is_finished(job)
