"""A namespace of a user in a cluster without nodes: tests write the statuses that an operator would."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Cluster

NOW = "2026-11-27T10:00:00Z"


class Namespace:
    """A namespace with the workloads of a test."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin)

    def get(self, what: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", what, "--output=json")))

    def write_status(self, what: str, **status: Any) -> None:
        """Writes a status as the operator would."""
        patch = json.dumps({"status": status})
        self.kubectl("patch", what, "--subresource=status", "--type=merge", f"--patch={patch}")

    def fail(self, what: str) -> None:
        attempt = {"number": 0, "jobName": "rex-0", "reason": "OutOfMemory", "exitCode": 5}
        condition = {
            "type": "Failed",
            "status": "True",
            "reason": "OutOfMemory",
            "message": "lower the batch",
            "lastTransitionTime": NOW,
            "observedGeneration": 1,
        }
        self.write_status(what, phase="Failed", message="lower the batch", attempts=[attempt], conditions=[condition])


@contextmanager
def user_namespace(cluster: Cluster, folder: Path) -> Iterator[Namespace]:
    """A new namespace, which the context of the user's kubeconfig names; the working directory is a folder of the user."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["contexts"][0]["context"]["namespace"] = name
    (folder / "kubeconfig").touch(0o600)
    (folder / "kubeconfig").write_text(yaml.safe_dump(document))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        monkeypatch.chdir(folder)
        yield Namespace(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
