"""Diagnoses a running attempt: why its pods do not run, if they don't."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.endings import disruption_of
from dreambooth_operator.decide.status.reasons import Finding, Reason
from dreambooth_operator.decide.status.refusals import refused
from dreambooth_operator.objects.names import LABEL_QUEUE
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    claims_of,
    condition_of,
    container_of,
    is_alive,
    is_being_deleted,
    is_unscheduled,
    job_started_at,
    name_of,
    pod_started_at,
    state_of,
    time_of,
)

GRACE_PERIOD = timedelta(seconds=30)
"""How long a pod may be unschedulable (a node may be about to join), in creation or overdue before that is reported."""

_VOLUMES = re.compile(r"persistent ?volume|free storage|\bpvc", re.IGNORECASE)
"""What the scheduler writes if no node fits because of a claim."""
_PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
_START = {"CreateContainerError", "RunContainerError"}


class Diagnosis(NamedTuple):
    """The result of a diagnosis."""

    finding: Finding
    """The finding about the attempt."""
    due: datetime | None = None
    """When the finding may change without an event."""


@dataclass(frozen=True)
class Running:
    """An attempt whose Job has not ended."""

    number: int
    """Number of the attempt."""
    job: Object
    """Its Job."""
    pods: Sequence[Object]
    """The pods of the Job."""
    nodes: int
    """Expected number of pods."""
    mount_failures: Mapping[str, str]
    """Why volumes of a pod can't be mounted, by the name of the pod."""
    pod_creation_failure: str | None
    """Why pods of the Job can't be created."""
    now: datetime
    """The time."""
    progress_error: str | None = None
    """Why the operator rejects the trainer's answers about its progress."""
    unbound_claims: Mapping[str, str] = field(default_factory=dict)
    """The claims of unscheduled pods that have no volume, each with the reason in its Events."""
    works: Reason = reasons.TRAINING
    """The reason while all pods run."""


def diagnose(attempt: Running) -> Diagnosis:
    """The first problem of any pod of an attempt, or else its state."""
    name, spec = name_of(attempt.job), attempt.job.get("spec", {})
    if spec.get("suspend"):
        queue = attempt.job["metadata"].get("labels", {}).get(LABEL_QUEUE)
        return Diagnosis(reasons.QUEUED(job=name, queue=queue) if queue else reasons.HELD(job=name))
    if condition_of(attempt.job, "FailureTarget") or condition_of(attempt.job, "SuccessCriteriaMet"):
        return Diagnosis(reasons.ENDING(number=attempt.number, job=name))
    alive = [pod for pod in attempt.pods if is_alive(pod)]
    if attempt.pod_creation_failure and len(alive) < attempt.nodes:
        return Diagnosis(refused(f"the pods of Job {name}", attempt.pod_creation_failure))
    if not attempt.pods:
        return _without_pods(attempt)
    if not alive:
        return Diagnosis(_between_pods(attempt))
    found = [diagnosis for pod in alive for rule in _RULES if (diagnosis := rule(pod, attempt)) is not None]
    due = min((one.due for one in found if one.due), default=None)
    worst = next((one.finding for one in found if one.finding), None)
    if worst is not None:
        return Diagnosis(worst, due)
    running = [pod for pod in alive if state_of(pod, "running") is not None]
    ended = [pod for pod in attempt.pods if pod.get("status", {}).get("phase") == "Succeeded" or _is_closing(pod)]
    if len(running) + len(ended) < attempt.nodes:
        start = _job_start(attempt)
        overdue = start + GRACE_PERIOD if start and len(alive) < attempt.nodes else None
        later = min((time for time in (due, overdue) if time and time > attempt.now), default=None)
        return Diagnosis(reasons.STARTING(job=name, number=attempt.number), later)
    if not running:
        return Diagnosis(reasons.ENDING(number=attempt.number, job=name), due)
    pods = "1 pod" if len(running) == 1 else f"{len(running)} pods"
    if attempt.progress_error:
        finding = reasons.PROGRESS_REFUSED(number=attempt.number, pods=pods, detail=attempt.progress_error)
        return Diagnosis(finding, due)
    return Diagnosis(attempt.works(number=attempt.number, pods=pods), due)


def _is_closing(pod: Object) -> bool:
    """Whether the trainer has ended, but the kubelet has not updated the phase of the pod yet, which takes a second or two."""
    return is_alive(pod) and state_of(pod, "terminated") is not None


def _without_pods(attempt: Running) -> Diagnosis:
    """A Job without pods: its controller had no time yet, or it may not create them."""
    job = attempt.job
    name, since = name_of(job), _job_start(attempt)
    due = since + GRACE_PERIOD if since else None
    if due is None or attempt.now < due:
        return Diagnosis(reasons.STARTING(job=name, number=attempt.number), due)
    return Diagnosis(reasons.NO_PODS(job=name, seconds=int(GRACE_PERIOD.total_seconds())))


def _job_start(attempt: Running) -> datetime | None:
    """When the Job controller first had to create the pods."""
    job = attempt.job
    if condition_of(job, "Suspended"):
        return attempt.now  # just admitted, and not yet seen by the Job controller
    return job_started_at(job)


def _between_pods(attempt: Running) -> Finding:
    """All pods have ended, and the Job controller has not yet replaced them or ended the Job."""
    newest = max(attempt.pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    ending = reasons.ENDING(number=attempt.number, job=name_of(attempt.job))
    return disruption_of(newest) or ending


class _Found(NamedTuple):
    finding: Finding | None
    due: datetime | None = None


def _disrupted(pod: Object, attempt: Running) -> _Found | None:
    return _Found(found) if (found := disruption_of(pod)) and not _is_overdue(pod, attempt.now) else None


def _overdue(pod: Object, attempt: Running) -> _Found | None:
    """A pod that is being deleted; after its grace period, its node does not respond."""
    if not is_being_deleted(pod):
        return None
    if _is_overdue(pod, attempt.now):
        node = pod.get("spec", {}).get("nodeName", "")
        return _Found(reasons.NODE_SILENT(pod=name_of(pod), node=node))
    return _Found(reasons.STOPPING(pod=name_of(pod)), _overdue_at(pod))


def _overdue_at(pod: Object) -> datetime | None:
    end = time_of(pod["metadata"].get("deletionTimestamp"))
    return end + GRACE_PERIOD if end else None


def _is_overdue(pod: Object, now: datetime) -> bool:
    end = _overdue_at(pod)
    return end is not None and now >= end


def _unschedulable(pod: Object, attempt: Running) -> _Found | None:
    conditions = pod.get("status", {}).get("conditions") or ()
    unscheduled = (one for one in conditions if one.get("type") == "PodScheduled" and one.get("status") == "False")
    scheduled = next((one for one in unscheduled if one.get("reason") == "Unschedulable"), None)
    message = scheduled.get("message", "") if scheduled else ""
    since = time_of(scheduled.get("lastTransitionTime")) or attempt.now if scheduled else None
    if since and attempt.now < since + GRACE_PERIOD:
        return _Found(None, since + GRACE_PERIOD)
    if is_unscheduled(pod) and (unbound := _unbound_claim(pod, attempt, message)):
        return _Found(unbound)
    return _Found(reasons.UNSCHEDULABLE(pod=name_of(pod), detail=message)) if scheduled else None


def _unbound_claim(pod: Object, attempt: Running, message: str) -> Finding | None:
    """The first claim without a volume, which is the cause. A claim whose class binds it to the node of its first pod has none
    either as long as no node fits, but neither an Event nor the scheduler blames it.

    Args:
        pod: a pod without a node.
        attempt: its attempt.
        message: the message of the scheduler.
    """
    blamed = _VOLUMES.search(message) is not None
    for claim in claims_of(pod):
        detail = attempt.unbound_claims.get(claim)
        if detail or (detail is not None and blamed):
            return reasons.CLAIM_UNBOUND(pod=name_of(pod), claim=claim, detail=detail or message)
    return None


def _waiting(pod: Object, attempt: Running) -> _Found | None:
    """A container that can't be created or started, with the message of the kubelet."""
    waiting = state_of(pod, "waiting") or {}
    reason, message, name = waiting.get("reason"), str(waiting.get("message", "")), name_of(pod)
    if reason in _PULL:
        image = container_of(pod).get("image", "")
        return _Found(reasons.IMAGE_PULL_FAILED(pod=name, image=image, detail=_pull_error(message) or reason))
    if reason == "CreateContainerConfigError":
        return _Found(reasons.CONTAINER_CONFIG_ERROR(pod=name, detail=message or reason))
    if reason in _START:
        return _Found(reasons.CONTAINER_START_FAILED(pod=name, detail=message or reason))
    return None


def _pull_error(message: str) -> str:
    """The error without its prefix, which alternates between an attempt and the back-off."""
    return message.rpartition("ErrImagePull: ")[2]


def _creating(pod: Object, attempt: Running) -> _Found | None:
    """A pod that has a node but does not start."""
    since = pod_started_at(pod)
    if since is None or state_of(pod, "running") is not None or _is_closing(pod):
        return None
    if attempt.now < since + GRACE_PERIOD:
        return _Found(None, since + GRACE_PERIOD)
    if detail := attempt.mount_failures.get(name_of(pod)):
        return _Found(reasons.VOLUME_MOUNT_FAILED(pod=name_of(pod), detail=detail))
    return _Found(reasons.CREATING(pod=name_of(pod)))


_RULES: Sequence[Callable[[Object, Running], _Found | None]] = (
    _disrupted,
    _overdue,
    _unschedulable,
    _waiting,
    _creating,
)
