"""A fake node, whose kubelet is played by a test, and the volume of a DreamBoothJob, in a real control plane."""

import json
from typing import Any

from tests.conftest import Cluster


class PretendedNode:
    """A fake node that is ready, and a volume for the claim of the DreamBoothJob `dog`; no other pods run on it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.name = f"pretended-{namespace}"
        self._labels = {"pretended": namespace}
        # The node controller soon taints a node whose kubelet sends no heartbeats.
        self.scheduling = {"nodeSelector": self._labels, "tolerations": [{"operator": "Exists"}]}
        """`spec.scheduling` of a DreamBoothJob whose pods run on the node."""

    def make(self) -> None:
        """Adds the node and the volume."""
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self._labels},
            "spec": {"taints": [{"key": "pretended", "effect": "NoSchedule"}]},
        }
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
        resources = {"cpu": "100", "memory": "1Ti", "pods": "10", "ephemeral-storage": "1Ti"}
        ready = {"type": "Ready", "status": "True", "reason": "Pretended"}
        self._write_status("node", self.name, {"capacity": resources, "allocatable": resources, "conditions": [ready]})

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

    def evict_for_its_limits(self, pod: dict[str, Any], code: int, message: str) -> None:
        """Fails a pod as kubelet 1.34 does when it exceeds its own limits of storage: without a condition DisruptionTarget."""
        container, started = pod["spec"]["containers"][0]["name"], pod["metadata"]["creationTimestamp"]
        status = {"name": container, "ready": False, "restartCount": 0, "image": "i", "imageID": "i", "started": False}
        end = {"exitCode": code, "reason": "Error", "startedAt": started, "finishedAt": started}
        status["state"] = {"terminated": {**end, "containerID": "containerd://1"}}
        failed = {"phase": "Failed", "reason": "Evicted", "message": message, "startTime": started}
        self._write_status("pod", pod["metadata"]["name"], failed | {"containerStatuses": [status]})

    def _write_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        place = f"--namespace={self._namespace}"
        self._cluster.kubectl("patch", kind, name, place, "--subresource=status", "--type=merge", f"--patch={patch}")
