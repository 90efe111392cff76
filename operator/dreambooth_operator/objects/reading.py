"""Reads fields of Kubernetes objects. Used by `decide/` and `control/`.

The API server has validated the objects against their schemas, so only optional fields may be missing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from dreambooth_operator.objects.names import CONTAINER, LABEL_ATTEMPT, LABEL_INDEX
from dreambooth_operator.objects.observed import Object

FINISHED = "Succeeded", "Failed"
"""Phases of pods that have released their resources."""


def time_of(text: str | None) -> datetime | None:
    """A timestamp of the API (RFC 3339), truncated to whole seconds."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0) if text else None


def name_of(item: Object) -> str:
    """Name of an object."""
    return str(item["metadata"]["name"])


def uid_of(item: Object) -> str:
    """UID of an object."""
    return str(item["metadata"]["uid"])


def generation_of(item: Object) -> int:
    """Generation of an object's spec."""
    return int(item["metadata"].get("generation", 0))


def controller_of(item: Object) -> Mapping[str, Any] | None:
    """The owner reference of an object's controller."""
    return next((one for one in item["metadata"].get("ownerReferences", ()) if one.get("controller")), None)


def is_controlled_by(item: Object, uid: str) -> bool:
    """Whether the controller of an object has this UID."""
    controller = controller_of(item)
    return controller is not None and controller.get("uid") == uid


def is_being_deleted(item: Object) -> bool:
    """Whether an object is being deleted."""
    return item["metadata"].get("deletionTimestamp") is not None


def is_orphaning(item: Object) -> bool:
    """Whether an object is being deleted without its dependents (`--cascade=orphan`)."""
    return is_being_deleted(item) and "orphan" in item["metadata"].get("finalizers", ())


def attempt_of(item: Object) -> int | None:
    """Number of the attempt that a Job or pod belongs to, by its label."""
    label = str(item["metadata"].get("labels", {}).get(LABEL_ATTEMPT, ""))
    return int(label) if label.isascii() and label.isdigit() else None


def index_of(pod: Object) -> str | None:
    """Completion index of a pod; that with index 0 runs the main process."""
    index: str | None = pod["metadata"].get("labels", {}).get(LABEL_INDEX)
    return index


def condition_of(item: Object, type_: str) -> Mapping[str, Any] | None:
    """A condition of an object, if its status is True."""
    conditions = item.get("status", {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == type_ and one.get("status") == "True"), None)


def is_finished(job: Object) -> bool:
    """Whether a Job is complete or has failed."""
    return condition_of(job, "Complete") is not None or condition_of(job, "Failed") is not None


def is_alive(pod: Object) -> bool:
    """Whether containers of a pod run or may still run."""
    return pod.get("status", {}).get("phase") not in FINISHED


def state_of(pod: Object, kind: str) -> Mapping[str, Any] | None:
    """The state of the trainer's container if it is of this kind: `waiting`, `running` or `terminated`."""
    containers = pod.get("status", {}).get("containerStatuses") or ()
    states = (one.get("state") or {} for one in containers if one.get("name") == CONTAINER)
    return next(states, {}).get(kind)


def container_of(pod: Object) -> Mapping[str, Any]:
    """The trainer's container in the spec of a pod; admission webhooks may have added other containers."""
    containers = pod["spec"]["containers"]
    return next((one for one in containers if one.get("name") == CONTAINER), {})


def is_unscheduled(pod: Object) -> bool:
    """Whether a pod that has not ended has no node."""
    status = pod.get("status", {})
    return status.get("phase") == "Pending" and not status.get("startTime") and not pod.get("spec", {}).get("nodeName")


def claims_of(pod: Object) -> list[str]:
    """The names of the claims that a pod mounts."""
    volumes = pod.get("spec", {}).get("volumes") or ()
    claims = (one["persistentVolumeClaim"]["claimName"] for one in volumes if one.get("persistentVolumeClaim"))
    return list(dict.fromkeys(claims))


def pod_started_at(pod: Object) -> datetime | None:
    """When the kubelet accepted a pod, which is about when it allocated the GPUs."""
    return time_of(pod.get("status", {}).get("startTime"))


def job_started_at(job: Object) -> datetime | None:
    """When the Job controller first had to create the pods of a Job."""
    return time_of(job.get("status", {}).get("startTime") or job["metadata"].get("creationTimestamp"))


def newest_job(jobs: Iterable[Object]) -> Object | None:
    """The Job of the latest attempt; None where there is none."""
    return max(jobs, key=lambda job: attempt_of(job) or 0, default=None)


def finished_at(pod: Object) -> datetime | None:
    """When the trainer's container ended."""
    terminated = state_of(pod, "terminated") or {}
    return time_of(terminated.get("finishedAt"))


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The earliest of the times that are known."""
    return min((time for time in times if time is not None), default=None)


def latest(times: Iterable[datetime | None]) -> datetime | None:
    """The latest of the times that are known."""
    return max((time for time in times if time is not None), default=None)
