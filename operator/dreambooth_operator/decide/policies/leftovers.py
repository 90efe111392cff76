"""Finds what an earlier workload with the same name, or an earlier attempt, has left and what blocks the next attempt."""

from collections.abc import Sequence

from dreambooth_operator.decide.policies.preflight import CLAIM, Referenced
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object, Reference
from dreambooth_operator.objects.reading import (
    attempt_of,
    controller_of,
    is_alive,
    is_being_deleted,
    is_controlled_by,
    is_finished,
    name_of,
    uid_of,
)


def blocking_jobs(owner: Object, jobs: Sequence[Object], name: str) -> list[Object]:
    """Jobs that may still create pods, or have the name of the next Job.

    Args:
        owner: the workload.
        jobs: all Jobs with the label of its name, including those of an earlier workload.
        name: name of the Job to create.
    """
    return [job for job in jobs if _blocks(job, owner, name)]


def orphans(owner: Object, jobs: Sequence[Object], referenced: Referenced) -> list[Reference]:
    """Objects of an earlier workload that was deleted without them, and that block the next attempt. Nothing proves whose
    they are, so the operator neither adopts nor deletes them.

    Args:
        owner: the workload.
        jobs: the Jobs that block.
        referenced: the objects with the names that the attempt needs, as far as they exist.
    """
    known = {Reference("Job", name_of(job)): job for job in jobs}
    known |= {one: item for one, item in referenced.items() if item is not None and one.kind not in (CLAIM, "Job")}
    return [reference for reference, item in known.items() if _is_orphan(item, owner)]


def leftovers(jobs: Sequence[Object], pods: Sequence[Object]) -> list[Finding]:
    """The finding about Jobs that block and pods that have not ended."""
    waiting = [f"Job {name_of(job)}" for job in jobs] + [f"Pod {name_of(pod)}" for pod in pods if is_alive(pod)]
    return [reasons.LEFTOVERS(leftovers=" and ".join(waiting))] if waiting else []


def earlier_objects(
    owner: Object, jobs: Sequence[Object], pods: Sequence[Object], orphaned: Sequence[Reference]
) -> list[Finding]:
    """The findings about objects of an earlier workload or attempt.

    Args:
        owner: the workload.
        jobs: the Jobs that block.
        pods: all pods with the label of its name.
        orphaned: the orphans.
    """
    uids = [uid_of(job) for job in jobs if Reference("Job", name_of(job)) in orphaned]
    found = leftovers(
        [job for job in jobs if uid_of(job) not in uids],
        [pod for pod in pods if not any(is_controlled_by(pod, uid) for uid in uids)],
    )
    objects = " ".join(f"{kind.lower()}/{name}" for kind, name in orphaned)
    return [reasons.ORPHANS(kind=owner["kind"], name=name_of(owner), objects=objects), *found] if orphaned else found


def _is_orphan(item: Object, owner: Object) -> bool:
    label = names.owner_label(item, owner["kind"])
    return label == name_of(owner) and controller_of(item) is None and not is_being_deleted(item)


def _blocks(job: Object, owner: Object, name: str) -> bool:
    if (
        is_controlled_by(job, uid_of(owner))
        and attempt_of(job) is not None
        and is_finished(job)
        and not is_being_deleted(job)
    ):
        return False
    return name_of(job) == name or not is_finished(job)
