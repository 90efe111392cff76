"""A DreamBoothJob whose node is lost, with real controllers and a fake node."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator

SECONDS = 120
"""Kubernetes checks for pods of missing nodes every 20 s and waits another 40 s."""


class PretendedNode:
    """A fake node that is ready, and a volume for the claim of the DreamBoothJob `dog`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.name = f"pretended-{namespace}"
        self.labels = {"pretended": namespace}

    def make(self) -> None:
        """Adds the node and the volume."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": self.labels}}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.name},
            "spec": {
                "capacity": {"storage": "1Ti"},
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "hostPath": {"path": "/pretended"},
                "claimRef": {"namespace": self._namespace, "name": "dog"},
            },
        }
        for item in (node, volume):
            self._cluster.kubectl("create", "--filename=-", stdin=json.dumps(item))
        room = {"cpu": "100", "memory": "1Ti", "pods": "10", "ephemeral-storage": "1Ti"}
        ready = {"type": "Ready", "status": "True", "reason": "Pretended"}
        self._write_status("node", self.name, {"capacity": room, "allocatable": room, "conditions": [ready]})

    def delete(self) -> None:
        """Deletes the node, as a cloud provider does; its pods remain."""
        self._cluster.kubectl("delete", "node", self.name, "--ignore-not-found")

    def delete_volume(self) -> None:
        """Deletes the volume."""
        self._cluster.kubectl("delete", "persistentvolume", self.name, "--wait=false")

    def run(self, pod: dict[str, Any]) -> None:
        """Marks a pod as running, as a kubelet would."""
        container = pod["spec"]["containers"][0]["name"]
        started = pod["metadata"]["creationTimestamp"]
        status = {"name": container, "ready": True, "restartCount": 0, "image": "i", "imageID": "i", "started": True}
        status["state"] = {"running": {"startedAt": started}}
        running = {"phase": "Running", "startTime": started, "containerStatuses": [status]}
        self._write_status("pod", pod["metadata"]["name"], running)

    def _write_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        place = f"--namespace={self._namespace}"
        self._cluster.kubectl("patch", kind, name, place, "--subresource=status", "--type=merge", f"--patch={patch}")


@pytest.fixture
def doomed(cluster: Cluster, namespace: str) -> Iterator[PretendedNode]:
    """A node that can be lost."""
    pretended = PretendedNode(cluster, namespace)
    pretended.make()
    yield pretended
    pretended.delete()
    pretended.delete_volume()


def test_a_job_whose_node_is_deleted_gets_another_pod(
    cluster: Cluster, kubeconfig: Path, namespace: str, doomed: PretendedNode
) -> None:
    def found(kind: str) -> list[dict[str, Any]]:
        listed = cluster.kubectl("get", kind, "--output=json", f"--namespace={namespace}")
        items: list[dict[str, Any]] = json.loads(listed)["items"]
        return items

    async def test() -> None:
        job = applied_job(namespace)
        job["spec"]["scheduling"] = {"nodeSelector": doomed.labels}
        cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", f"--namespace={namespace}")
        async with operator(kubeconfig, namespace):
            cluster.kubectl("create", "--filename=-", stdin=json.dumps(job))
            placed = await until(
                lambda: [pod for pod in found("pods") if pod["spec"].get("nodeName") == doomed.name], SECONDS
            )
            (pod,) = placed
            doomed.run(pod)
            await until(lambda: found("dreamboothjobs")[0]["status"]["phase"] == "Running")
            doomed.delete()
            await until(lambda: "NodeLost" in [event["reason"] for event in found("events")], SECONDS)
            await until(
                lambda: [each["metadata"]["uid"] for each in found("pods")] not in ([], [pod["metadata"]["uid"]])
            )
            status = found("dreamboothjobs")[0]["status"]
            assert (status["failures"], len(status["attempts"])) == (0, 1)

    asyncio.run(test())
