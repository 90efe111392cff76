"""Small Jobs and pods of the DreamBoothJob `dog`, in all relevant states."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dreambooth_api.job import KIND, DreamBoothJob
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABEL_INDEX
from tests.operator.fake_cluster import MINIMAL, START, stamp
from tests.operator.objects_of import dreambooth_job

OWNER = dreambooth_job()
UID = OWNER["metadata"]["uid"]


def at(seconds: float = 0) -> datetime:
    """A time after the start."""
    return START + timedelta(seconds=seconds)


def moment(seconds: float | None) -> str | None:
    """The same, as the API server writes it."""
    return None if seconds is None else stamp(at(seconds))


def read(**spec: Any) -> DreamBoothJob:
    """The DreamBoothJob, read."""
    content = {"apiVersion": API_VERSION, "kind": KIND, "metadata": OWNER["metadata"], "spec": {**MINIMAL, **spec}}
    return DreamBoothJob.model_validate(content)


def holding(type_: str, after: float = 0, **more: Any) -> dict[str, Any]:
    """A condition of a Job or pod."""
    return {"type": type_, "status": "True", "lastTransitionTime": moment(after), **more}


def job(
    number: int = 0, *conditions: Mapping[str, Any], owner: str = UID, left: float | None = None, **more: Any
) -> dict[str, Any]:
    """The Job of an attempt; `left`: when it was deleted."""
    metadata: dict[str, Any] = {
        "name": f"dog-{number}",
        "uid": f"uid-dog-{number}",
        "labels": {LABEL_ATTEMPT: str(number)},
    }
    metadata |= {"ownerReferences": [{"uid": owner, "controller": True}], "creationTimestamp": moment(0)}
    metadata |= {} if left is None else {"deletionTimestamp": moment(left)}
    return {"kind": "Job", "metadata": metadata, "status": {"conditions": list(conditions)}, **more}


def pod(
    phase: str = "Running",
    state: Mapping[str, Any] | None = None,
    *,
    index: int = 0,
    created: float = 0,
    started: float | None = 0,
    left: float | None = None,
    owner: str = "uid-dog-0",
    **status: Any,
) -> dict[str, Any]:
    """A pod; `started`: when a node took it over, `left`: when it must have stopped."""
    metadata: dict[str, Any] = {"name": f"dog-0-{index}", "creationTimestamp": moment(created)}
    metadata |= {"labels": {LABEL_INDEX: str(index)}}
    metadata |= {"ownerReferences": [{"uid": owner, "controller": True}]}
    metadata |= {} if left is None else {"deletionTimestamp": moment(left)}
    limits = {"memory": "16Gi"}
    containers = [{"name": "trainer", "image": "trainer:1", "resources": {"limits": limits}}]
    reported: dict[str, Any] = {"containerStatuses": [{"name": "trainer", "state": dict(state)}]} if state else {}
    reported |= {} if started is None else {"startTime": moment(started)}
    spec = {"containers": containers, "nodeName": "node-1"}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase, **reported, **status}}


def running() -> dict[str, Any]:
    """The state of a container that runs."""
    return {"running": {"startedAt": moment(0)}}


def ended(code: int, message: str = "", after: float = 60, reason: str = "Error") -> dict[str, Any]:
    """The state of a container that has ended."""
    said = {"exitCode": code, "message": message, "reason": reason}
    return {"terminated": {**said, "startedAt": moment(0), "finishedAt": moment(after)}}


def failed_pod(code: int, message: str = "", after: float = 60, reason: str = "Error", **more: Any) -> dict[str, Any]:
    """A pod whose trainer has failed."""
    return pod("Failed", ended(code, message, after, reason), **more)


def required_nodes(*requirements: dict[str, Any]) -> dict[str, Any]:
    """A spec whose affinity requires nodes."""
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(requirements)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def preferred_nodes(*requirements: dict[str, Any], weight: int = 1) -> dict[str, Any]:
    """A spec whose affinity prefers nodes."""
    term = {"weight": weight, "preference": {"matchExpressions": list(requirements)}}
    return {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}
