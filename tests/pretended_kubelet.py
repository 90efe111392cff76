"""A fake node whose pods become ready at once, or end if they restart on failure, as that of `helm test`."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from tests.conftest import Cluster

NODE = "pretended"


@contextmanager
def pretended_kubelet(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Plays the kubelet for the pods of a namespace."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(node))
    stopped = threading.Event()
    thread = threading.Thread(target=_play, args=(cluster, namespace, stopped))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        cluster.kubectl("delete", "node", NODE)


def _play(cluster: Cluster, namespace: str, stopped: threading.Event) -> None:
    beat = 0.0
    while not stopped.wait(0.5):
        # Whatever is written may just have been deleted.
        with suppress(AssertionError):
            # The node controller would evict all pods of a node whose kubelet is silent.
            if time.monotonic() - beat > 5:
                _write_status(cluster, "node", NODE, _node_status())
                beat = time.monotonic()
            for pod in cluster.items("pods", f"--namespace={namespace}"):
                _update(cluster, pod, f"--namespace={namespace}")


def _update(cluster: Cluster, pod: dict[str, Any], place: str) -> None:
    name = pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        # The Job controller only lets pods go that have ended.
        _write_status(cluster, "pod", name, {"phase": "Failed"}, place)
        cluster.kubectl("delete", "pod", name, place, "--force", "--grace-period=0", "--ignore-not-found")
    elif "nodeName" in pod["spec"] and pod["status"]["phase"] == "Pending":
        _write_status(cluster, "pod", name, _pod_status(pod), place)


def _node_status() -> dict[str, Any]:
    room = {"cpu": "100", "memory": "1Ti", "pods": "100", "ephemeral-storage": "1Ti"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Pretended",
        "lastHeartbeatTime": f"{datetime.now(UTC):%FT%TZ}",
    }
    return {"capacity": room, "allocatable": room, "conditions": [ready]}


def _pod_status(pod: dict[str, Any]) -> dict[str, Any]:
    started = pod["metadata"]["creationTimestamp"]
    if pod["spec"]["restartPolicy"] == "OnFailure":
        return {"phase": "Succeeded", "startTime": started}
    ready = [{"type": type_, "status": "True"} for type_ in ("Ready", "ContainersReady", "PodScheduled")]
    return {"phase": "Running", "startTime": started, "conditions": ready}


def _write_status(cluster: Cluster, kind: str, name: str, status: dict[str, Any], *place: str) -> None:
    patch = json.dumps({"status": status})
    cluster.kubectl("patch", kind, name, *place, "--subresource=status", "--type=merge", f"--patch={patch}")
