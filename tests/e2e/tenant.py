"""A namespace of a tenant, and the actions of a user with kubectl."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.conftest import Cluster
from tests.patience import PATIENCE

SMALL: Mapping[str, Any] = {
    "model": {"source": "embedded://emoji"},
    "subject": {"class": "dog", "identifier": "sks", "images": {"configMap": {"name": "photos"}}},
    "prior": {"images": 8, "batchSize": 8, "otherWords": 4, "sampler": {"scheduler": "dpm-solver++", "steps": 4}},
    "training": {"steps": 20, "batchSize": 1, "learningRate": 1e-4},
    "checkpoints": {"intervalSeconds": 0},
    "samples": {"prompts": ["a {identifier} {class}"], "perPrompt": 1, "steps": 4},
    "evaluation": {"enabled": False},
    "resources": {"gpusPerNode": 1, "cpu": "500m", "memory": "4Gi", "sharedMemory": "64Mi"},
    "volumes": {"output": {"create": {"size": "1Gi"}}},
}
"""A DreamBoothJob with the embedded model that takes seconds, on one fake GPU."""


def small(**sections: Any) -> dict[str, Any]:
    """The spec of a small DreamBoothJob; arguments replace fields of the spec or of its sections."""
    spec = deepcopy(dict(SMALL))
    for name, section in sections.items():
        spec[name] = {**spec.get(name, {}), **section} if isinstance(section, Mapping) else section
    return spec


class Tenant:
    """A namespace."""

    def __init__(self, cluster: Cluster, name: str, image: str) -> None:
        self.cluster = cluster
        self.name = name
        self._image = image
        """Any image with a shell."""

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Runs kubectl in the namespace."""
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin)

    def apply(self, spec: Mapping[str, Any], name: str = "dog", kind: str = "DreamBoothJob") -> None:
        """Applies a DreamBoothJob or DreamBoothScene."""
        item = {
            "apiVersion": "dreambooth.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(item))

    def patch(self, spec: Mapping[str, Any], name: str = "dog") -> None:
        """Changes a DreamBoothJob."""
        self.kubectl("patch", "dbj", name, "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    def status(self, name: str = "dog", kind: str = "dbj") -> dict[str, Any]:
        """The status of a DreamBoothJob or DreamBoothScene."""
        return dict(self.get(f"{kind}/{name}").get("status", {}))

    def get(self, what: str) -> dict[str, Any]:
        """An object, or a list of a kind."""
        return dict(json.loads(self.kubectl("get", what, "--output=json")))

    def items(self, kind: str, labels: str = "") -> list[dict[str, Any]]:
        """All objects of a kind."""
        return self.cluster.items(kind, f"--selector={labels}", f"--namespace={self.name}")

    def pods(self) -> list[dict[str, Any]]:
        """Pods of trainers that have not ended, in the order of their names."""
        pods = self.items("pods", "dreambooth.io/attempt")
        return [pod for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]

    def events(self) -> list[str]:
        """Reasons of Events about DreamBoothJobs and DreamBoothScenes."""
        kinds = "DreamBoothJob", "DreamBoothScene"
        return [event["reason"] for event in self.items("events") if event["involvedObject"]["kind"] in kinds]

    def until(self, condition: Callable[[dict[str, Any]], Any], name: str = "dog", kind: str = "dbj") -> Any:
        """Waits for a condition of the status of a DreamBoothJob or DreamBoothScene, and returns the status."""
        deadline = time.monotonic() + PATIENCE
        while not condition(status := self.status(name, kind)):
            assert time.monotonic() < deadline, f"{json.dumps(status, indent=1)}\n{self.story()}"
            time.sleep(0.3)
        return status

    def until_phase(self, *phases: str, name: str = "dog", kind: str = "dbj") -> dict[str, Any]:
        """Waits until a DreamBoothJob or DreamBoothScene is in a phase; an unexpected end is an error."""

        def reached(status: dict[str, Any]) -> bool:
            phase = status.get("phase")
            assert phase in phases or phase not in ("Complete", "Failed"), (
                f"{json.dumps(status, indent=1)}\n{self.story()}"
            )
            return phase in phases

        return dict(self.until(reached, name, kind))

    def copied_out(self, claim: str, path: str, target: Path) -> Path:
        """Copies a folder of a claim's volume to this machine."""
        with self.pod("look", "sleep", "300", claims={"/run-of-job": claim}):
            self.kubectl("cp", f"look:/run-of-job/{path}", target / "run")
        return target / "run"

    def read(self, claim: str, path: str) -> str:
        """Reads a file of a claim's volume."""
        with self.pod("look", "sleep", "300", claims={"/run-of-job": claim}):
            return self.kubectl("exec", "look", "--", "cat", f"/run-of-job/{path}")

    @contextmanager
    def pod(
        self, name: str, *command: str, claims: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[dict[str, Any]]:
        """A pod that runs a command and no policy selects; it is deleted in the end.

        Args:
            name: its name.
            command: what it runs.
            claims: the claims that it mounts, by path.
        """
        volumes = {f"volume-{number}": (path, claim) for number, (path, claim) in enumerate(claims.items())}
        container = {
            "name": name,
            "image": self._image,
            "command": command,
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": volume, "mountPath": path} for volume, (path, _) in volumes.items()],
        }
        spec = {
            "containers": [container],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [
                {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
                for volume, (_, claim) in volumes.items()
            ],
            "terminationGracePeriodSeconds": 0,
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(pod))
        try:
            self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={PATIENCE}s")
            yield self.get(f"pod/{name}")
        finally:
            self.kubectl("delete", "pod", name)

    def story(self) -> str:
        """Information for debugging."""
        logs = [
            self.kubectl("logs", pod["metadata"]["name"], "--tail=30", "--ignore-errors") for pod in self.pods()[:1]
        ]
        return "\n".join(
            [self.kubectl("get", "dbj,dbs,jobs,pods,pvc", "-o", "wide"), self.kubectl("get", "events"), *logs]
        )


def reason(status: Mapping[str, Any], type_: str) -> tuple[str, str] | None:
    """Status and reason of a condition."""
    found = next((one for one in status.get("conditions", ()) if one["type"] == type_), None)
    return (found["status"], found["reason"]) if found else None
