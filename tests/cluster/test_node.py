"""The node of the test cluster without the operator: the features on which the operator's tests rely."""

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.e2e.installation import restrict
from tests.patience import PATIENCE

USER = 65532
SECONDS = 120
"""Seconds within which a small Job must complete."""
MEET = """
import os, socket, time
if os.environ["JOB_COMPLETION_INDEX"] == "0":
    with socket.create_server(("", 4000)) as server:
        server.accept()
else:
    while True:
        try:
            socket.create_connection(("meeting-0.meeting", 4000), timeout=5)
            print(socket.gethostbyname("meeting-0.meeting"))
            break
        except OSError:
            time.sleep(0.5)
"""
"""The first pod waits for the second, which finds it by its DNS name."""


class Jobs:
    """Jobs of a namespace that enforces the restricted level."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._image = image

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl in the namespace."""
        return self._cluster.kubectl("--namespace", self._namespace, *arguments, stdin=stdin)

    def create(self, item: Mapping[str, Any]) -> None:
        """Creates an object."""
        self.kubectl("create", "--filename", "-", stdin=json.dumps(item))

    def complete(self, name: str, command: list[str], pods: int = 1, claim: str = "", **spec: Any) -> list[str]:
        """Runs an Indexed Job to its end and returns the lines that its pods wrote, sorted.

        Args:
            name: its name.
            command: what each pod runs.
            pods: how many.
            claim: a claim that is mounted at `/data`.
            spec: more for the spec of the pods.
        """
        container: dict[str, Any] = {
            "name": "main",
            "image": self._image,
            "command": command,
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        if claim:
            container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
            spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        as_user = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
        template = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {**as_user, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            **spec,
        }
        job = {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimit": 0,
            "activeDeadlineSeconds": SECONDS,
            "template": {"spec": template},
        }
        self.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job})
        self.kubectl("wait", "--for=condition=Complete", f"job/{name}", f"--timeout={SECONDS}s")
        return sorted(self.kubectl("logs", f"--selector=batch.kubernetes.io/job-name={name}", "--tail=-1").splitlines())


@pytest.fixture
def jobs(node: Cluster, loaded: Mapping[str, str]) -> Iterator[Jobs]:
    """A namespace of its own, whose Jobs run the image of the operator: it has a shell and Python."""
    name = f"node-{uuid.uuid4().hex[:6]}"
    node.kubectl("create", "namespace", name)
    restrict(node, name)
    yield Jobs(node, name, loaded["operator"])
    node.kubectl("delete", "namespace", name, f"--timeout={PATIENCE}s")


def test_an_indexed_job_completes_in_a_restricted_namespace(jobs: Jobs) -> None:
    lines = jobs.complete("count", ["sh", "-c", 'echo "$JOB_COMPLETION_INDEX $(id -u)"'], pods=2)
    assert lines == [f"0 {USER}", f"1 {USER}"]


def test_a_pod_that_is_not_restricted_is_refused(jobs: Jobs) -> None:
    container = {"name": "main", "image": "any"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": {"containers": [container]}}
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted'):
        jobs.create(pod)


def test_pods_of_a_headless_service_meet_by_their_names(jobs: Jobs) -> None:
    service = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"batch.kubernetes.io/job-name": "meeting"},
    }
    jobs.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "meeting"}, "spec": service})
    (address,) = jobs.complete("meeting", ["python", "-c", MEET], pods=2, subdomain="meeting")
    first = "--selector=batch.kubernetes.io/job-name=meeting,batch.kubernetes.io/job-completion-index=0"
    assert jobs.kubectl("get", "pods", first, "--output=jsonpath={.items[0].status.podIP}") == address


def test_a_claim_is_bound_and_what_a_user_writes_there_stays(jobs: Jobs) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    jobs.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shelf"}, "spec": spec})
    assert jobs.complete("write", ["sh", "-c", "echo words > /data/file"], claim="shelf") == []
    assert jobs.kubectl("get", "pvc", "shelf", "--output=jsonpath={.status.phase}") == "Bound"
    read = ["sh", "-c", "cat /data/file; stat --format=%u /data/file"]
    assert jobs.complete("read", read, claim="shelf") == [str(USER), "words"]
