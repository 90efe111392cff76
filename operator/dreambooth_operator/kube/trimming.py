"""Reduces objects to the fields that the operator reads, before `cache.py` stores them.

Most of a pod or Job is its template, and tenants can create large pods with the labels of a workload. The fields that remain
are those that `objects/reading.py`, `decide/`, `poll/` and `control/` read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dreambooth_operator.objects.names import (
    ANNOTATION_DEADLINE,
    ANNOTATION_OUTPUT,
    ANNOTATION_PENDING,
    ANNOTATION_PROGRESS,
    CONTAINER,
    LABEL_ATTEMPT,
    LABEL_INDEX,
    LABEL_QUEUE,
    LABEL_RUNTIME,
    LABELS,
)
from dreambooth_operator.objects.observed import Object

TEXT_LENGTH = 4096
"""Longest text that is kept, the length of the longest termination message."""
_CONDITIONS = 20
_ADDRESSES = 4
_VOLUMES = 20
_MANAGERS = 10
_METADATA = "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"
_LABELS = *(key for keys in LABELS.values() for key in keys), LABEL_ATTEMPT, LABEL_RUNTIME, LABEL_INDEX, LABEL_QUEUE
_ANNOTATIONS = ANNOTATION_OUTPUT, ANNOTATION_DEADLINE, ANNOTATION_PENDING, ANNOTATION_PROGRESS
_OWNER = "apiVersion", "kind", "name", "uid", "controller"
_MANAGER = "manager", "subresource", "time"
_CONDITION = "type", "status", "reason", "message", "lastTransitionTime"
_POD_STATUS = "phase", "reason", "message", "startTime", "podIP", "hostIP"


def trimmed(item: Object) -> Object:
    """An object without the fields that the operator does not read."""
    trim = _TRIMMED.get(item["kind"])
    if trim is None:
        metadata = {key: value for key, value in item["metadata"].items() if key != "annotations"}
        if managers := _status_managers(metadata.pop("managedFields", ())):
            metadata["managedFields"] = managers
        return {**item, "metadata": metadata}
    return {key: item[key] for key in ("apiVersion", "kind") if key in item} | trim(item)


def _job(item: Object) -> dict[str, Any]:
    metadata = _metadata(item)
    if annotations := _fields(item["metadata"].get("annotations"), _ANNOTATIONS):
        metadata["annotations"] = annotations
    spec = _fields(item.get("spec"), ("suspend", "parallelism", "completions"))
    status = _fields(item.get("status"), ("startTime",))
    return {"metadata": metadata, "spec": spec, "status": status | _conditions(item)}


def _pod(item: Object) -> dict[str, Any]:
    status: Mapping[str, Any] = item.get("status") or {}
    kept = _fields(status, _POD_STATUS) | _conditions(item)
    if "hostIPs" in status:
        kept["hostIPs"] = [_fields(one, ("ip",)) for one in status["hostIPs"][:_ADDRESSES]]
    if "containerStatuses" in status:
        kept["containerStatuses"] = [
            {
                "name": CONTAINER,
                "state": {kind: _fields(one, one or ()) for kind, one in (own.get("state") or {}).items()},
            }
            for own in _of_trainer(status["containerStatuses"])
        ]
    given: Mapping[str, Any] = item.get("spec") or {}
    spec = _fields(given, ("nodeName", "hostNetwork"))
    if "nodeName" not in given:
        spec["volumes"] = [
            {"persistentVolumeClaim": _fields(one["persistentVolumeClaim"], ("claimName",))}
            for one in (given.get("volumes") or ())[:_VOLUMES]
            if "persistentVolumeClaim" in one
        ]
    spec["containers"] = [
        _fields(own, ("name", "image")) | {"resources": {"limits": _fields(_limits(own), ("memory",))}}
        for own in _of_trainer(given.get("containers"))
    ]
    return {"metadata": _metadata(item), "spec": spec, "status": kept}


def _status_managers(managed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Who has written the status, and when."""
    found = [_fields(one, _MANAGER) for one in managed if one.get("subresource") == "status"]
    return found[:_MANAGERS]


_TRIMMED: Mapping[str, Callable[[Object], dict[str, Any]]] = {"Job": _job, "Pod": _pod}


def _metadata(item: Object) -> dict[str, Any]:
    metadata = item["metadata"]
    kept = _fields(metadata, _METADATA)
    owners = [_fields(one, _OWNER) for one in metadata.get("ownerReferences") or () if one.get("controller")]
    return kept | {"labels": _fields(metadata.get("labels"), _LABELS), "ownerReferences": owners}


def _conditions(item: Object) -> dict[str, Any]:
    conditions: Sequence[Mapping[str, Any]] = (item.get("status") or {}).get("conditions") or ()
    return {"conditions": [_fields(one, _CONDITION) for one in conditions[:_CONDITIONS]]} if conditions else {}


def _of_trainer(containers: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    return [one for one in containers or () if one.get("name") == CONTAINER]


def _limits(container: Mapping[str, Any]) -> Mapping[str, Any]:
    limits: Mapping[str, Any] = (container.get("resources") or {}).get("limits") or {}
    return limits


def _fields(section: Mapping[str, Any] | None, names: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Some fields of a section, as far as they exist; lists and sections inside are not kept."""
    known = section or {}
    return {name: _short(known[name]) for name in names if name in known and not isinstance(known[name], list | dict)}


def _short(value: Any) -> Any:
    return value[:TEXT_LENGTH] if isinstance(value, str) else value
