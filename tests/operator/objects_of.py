"""Small Kubernetes objects, as the API server returns them."""

from typing import Any

from dreambooth_operator.objects.names import LABEL_INDEX, LABEL_JOB


def dreambooth_job(name: str = "dog", version: int = 1, uid: str = "", **more: Any) -> dict[str, Any]:
    """A DreamBoothJob."""
    metadata = {"name": name, "namespace": "space", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "dreambooth.io/v1alpha1", "kind": "DreamBoothJob", "metadata": metadata, "spec": {}, **more}


def dreambooth_scene(name: str = "beach", job: str = "dog", version: int = 1) -> dict[str, Any]:
    """A DreamBoothScene."""
    item = dreambooth_job(name, version)
    return {**item, "kind": "DreamBoothScene", "spec": {"jobName": job, "prompts": ["a {identifier} {class}"]}}


def job(owner: dict[str, Any], number: int = 0, version: int = 1) -> dict[str, Any]:
    """The Job of an attempt."""
    return _child(
        "Job", f"{owner['metadata']['name']}-{number}", owner, version, {LABEL_JOB: owner["metadata"]["name"]}
    )


def pod(owner: dict[str, Any], version: int = 1, index: int = 0, address: str = "127.0.0.1") -> dict[str, Any]:
    """A running pod of a Job."""
    labels = {LABEL_JOB: owner["metadata"]["labels"][LABEL_JOB], LABEL_INDEX: str(index)}
    item = _child("Pod", f"{owner['metadata']['name']}-{index}-xyz", owner, version, labels)
    return {**item, "status": {"phase": "Running", "podIP": address}}


def _child(kind: str, name: str, owner: dict[str, Any], version: int, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": labels,
            "ownerReferences": [{"uid": owner["metadata"]["uid"], "controller": True}],
            "creationTimestamp": f"2026-01-01T00:00:{version % 60:02}Z",
            "managedFields": [{"manager": "somebody"}],
        },
    }
