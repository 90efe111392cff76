"""A pod that mounts the claim of a workload read-only, for as long as its files are copied.

It is restricted like a trainer's, and has no GPU and no credentials. It is needed only where no pod of the workload runs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dreambooth_api.workload import API_VERSION
from dreambooth_client.cluster.session import Session
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.seen import Seen
from dreambooth_operator.kube.client import ClusterError
from dreambooth_operator.objects.names import CONTAINER
from dreambooth_operator.objects.observed import Object, Reference

MOUNT = "/files"
"""Where the claim is mounted."""
QUIET_SECONDS = 5.0
"""A pod that starts within this time needs no explanation."""
LIFETIME_SECONDS = 3600
"""After this time the kubelet stops a pod whose command was killed; it is deleted together with its workload."""
_ARCHITECTURE = "kubernetes.io/arch", "kubernetes.io/os"
"""Labels of nodes on which the image can run. Others, such as those of GPUs, would start nodes for nothing."""


def reader_pod(seen: Seen, job: Object, claim: str) -> dict[str, Any]:
    """The pod, made from the template of a Job of the workload: same image, user and tolerations.

    Args:
        seen: the workload.
        job: a Job of it.
        claim: the claim to mount.
    """
    template = job["spec"]["template"]["spec"]
    trainer = next(one for one in template["containers"] if one["name"] == CONTAINER)
    metadata = seen.object["metadata"]
    owner = {"apiVersion": API_VERSION, "kind": seen.target.kind, "name": metadata["name"], "uid": metadata["uid"]}
    container = {
        "name": CONTAINER,
        "image": trainer["image"],
        "imagePullPolicy": trainer["imagePullPolicy"],
        "command": ["sleep", str(LIFETIME_SECONDS)],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "securityContext": trainer["securityContext"],
        "volumeMounts": [{"name": "files", "mountPath": MOUNT, "readOnly": True}],
    }
    kept = "securityContext", "imagePullSecrets", "tolerations", "schedulerName"
    selector = {key: value for key, value in template.get("nodeSelector", {}).items() if key in _ARCHITECTURE}
    spec = {
        **{name: template[name] for name in kept if name in template},
        **({"nodeSelector": selector} if selector else {}),
        "restartPolicy": "Never",
        "activeDeadlineSeconds": LIFETIME_SECONDS,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": claim}}],
        "containers": [container],
    }
    labels = {"app.kubernetes.io/name": "dreambooth-reader", "app.kubernetes.io/instance": metadata["name"]}
    meta = {
        "generateName": f"{metadata['name']}-reader-",
        "namespace": metadata["namespace"],
        "labels": labels,
        "ownerReferences": [owner],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@asynccontextmanager
async def running_pod(
    session: Session, pod: Object, patience: float, report: Callable[[str], None]
) -> AsyncIterator[str]:
    """Creates a pod, waits until it runs, and deletes it in the end.

    Args:
        session: the connection.
        pod: the pod to create.
        patience: seconds for which it may take to start.
        report: called with each new reason for which it does not run yet.

    Raises:
        ClusterFailure: it does not start.
    """
    created = await session.cluster.create(pod)
    name = str(created["metadata"]["name"])
    try:
        await _until_running(session, name, patience, report)
        yield name
    finally:
        await session.cluster.delete(Reference("Pod", name), session.namespace, None)


async def _until_running(session: Session, name: str, patience: float, report: Callable[[str], None]) -> None:
    begun, said = time.monotonic(), ""
    while True:
        pod = await session.cluster.get("Pod", session.namespace, name)
        if pod is None:
            raise ClusterFailure(f"pod {name} was deleted by somebody else before it ran; try again")
        status = pod.get("status", {})
        if status.get("phase") == "Running":
            return
        why = _reason(status)
        waited = time.monotonic() - begun
        if status.get("phase") == "Failed" or waited > patience:
            why = await _event_of(session, name) or why
            raise ClusterFailure(f"pod {name} does not start: {why}")
        if why and why != said and waited > QUIET_SECONDS:
            report(f"pod {name} starts: {why}")
            said = why
        await asyncio.sleep(0.5)


def _reason(status: Object) -> str:
    """Why a pod does not run, as far as its status says."""
    waiting = [(one.get("state") or {}).get("waiting") or {} for one in status.get("containerStatuses") or ()]
    conditions = [one for one in status.get("conditions") or () if one.get("status") == "False"]
    said = [one.get("message") or one.get("reason") for one in (*waiting, *conditions, status)]
    return next((text for text in said if text), "")


async def _event_of(session: Session, name: str) -> str | None:
    """What the kubelet says about volumes that can't be mounted."""
    for reason in ("FailedMount", "FailedAttachVolume"):
        try:
            if message := await session.cluster.latest_event_message(session.namespace, "Pod", name, reason):
                return message
        except ClusterError:
            return None
    return None
