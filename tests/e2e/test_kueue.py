"""DreamBoothJobs in queues of Kueue: quota, preemption, and two tenants."""

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images
from tests.conftest import Cluster
from tests.e2e import kueue
from tests.e2e.installation import restrict
from tests.e2e.tenant import Tenant, small
from tests.patience import PATIENCE

TRAINER = Path(__file__).with_name("pretended_trainer.py")
JOBS, GPUS = 20, 2
"""Quota of GPUs of each of the two tenants."""


@pytest.fixture(scope="module")
def queues(node: Cluster, operator: str) -> Iterator[Cluster]:
    """The cluster with Kueue."""
    if node.binaries is None:
        pytest.skip("Kueue is installed only in the test cluster")
    kueue.install(node)
    yield node
    kueue.uninstall(node)


@contextmanager
def namespace(cluster: Cluster, name: str) -> Iterator[str]:
    """A namespace with a queue; both are deleted afterwards."""
    name = f"{name}-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    restrict(cluster, name)
    yield name
    cluster.kubectl("--namespace", name, "delete", "dreamboothjobs", "--all", f"--timeout={PATIENCE}s")
    cluster.kubectl("delete", "clusterqueue", name, "--ignore-not-found", "--wait=false")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_dreamboothjobs_wait_for_quota_and_a_preempted_one_resumes(queues: Cluster, tenant: Tenant) -> None:
    kueue.queue(queues, tenant.name, gpus=1)
    classes = {"low": 1, "high": 2}
    for name, value in classes.items():
        # The scheduler must not preempt pods; Kueue does.
        description = {"value": value, "preemptionPolicy": "Never"}
        metadata = {"name": f"{tenant.name}-{name}"}
        kueue.apply(
            queues,
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, **description},
        )
    try:
        tenant.apply(small(training={"steps": 100_000}, scheduling=_scheduling(tenant, "low")))
        before = tenant.until(lambda status: status.get("progress", {}).get("step", 0) >= 10)["progress"]["step"]
        tenant.apply(small(scheduling=_scheduling(tenant, "low")), "waiting")
        tenant.until(lambda status: status.get("phase") == "Queued", name="waiting")
        tenant.kubectl("delete", "dbj", "waiting", f"--timeout={PATIENCE}s")
        tenant.apply(small(scheduling=_scheduling(tenant, "high")), "urgent")
        tenant.until_phase("Queued")
        tenant.until_phase("Complete", name="urgent")
        saved = tenant.status()["progress"]["step"]
        assert saved >= before
        status = tenant.until(lambda now: now["phase"] == "Running" and now["progress"]["step"] > saved)
        assert (status["failures"], len(status["attempts"])) == (0, 1)
        tenant.kubectl("delete", "dbj", "--all", f"--timeout={PATIENCE}s")
    finally:
        queues.kubectl("delete", "priorityclass", *(f"{tenant.name}-{name}" for name in classes))
        queues.kubectl("delete", "clusterqueue", tenant.name, "--wait=false")


def _scheduling(tenant: Tenant, priority: str) -> dict[str, str]:
    return {"queueName": "team", "priorityClassName": f"{tenant.name}-{priority}"}


@pytest.mark.slow
def test_two_tenants_with_equal_quotas_get_equal_shares(queues: Cluster, loaded: Any) -> None:
    image = f"localhost/dreambooth-pretended-trainer:{hashlib.sha256(TRAINER.read_bytes()).hexdigest()[:16]}"
    module = {TRAINER: "/pretended/dreambooth_trainer/launch.py"}
    images.load_files(image, images.BASE, module, "--env=PYTHONPATH=/pretended")
    with namespace(queues, "red") as red, namespace(queues, "blue") as blue:
        runtime = _runtime(image, [red, blue])
        kueue.apply(queues, runtime)
        try:
            tenants = [Tenant(queues, name, loaded["operator"]) for name in (red, blue)]
            for tenant in tenants:
                kueue.queue(queues, tenant.name, GPUS)
                _fill(tenant)
            _until_complete(tenants)
            _assert_fair(tenants)
        finally:
            queues.kubectl("delete", "dreamboothruntime", runtime["metadata"]["name"])


def _runtime(image: str, namespaces: list[str]) -> dict[str, Any]:
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}
    spec = {
        "default": True,
        "namespaceSelector": {"matchExpressions": [only]},
        "image": image,
        "resources": {"cpu": "50m", "memory": "64Mi", "sharedMemory": "1Mi"},
        "queueNames": ["team"],
        "limits": {"gpus": 1},
    }
    return {
        "apiVersion": "dreambooth.io/v1alpha1",
        "kind": "DreamBoothRuntime",
        "metadata": {"name": namespaces[0]},
        "spec": spec,
    }


def _fill(tenant: Tenant) -> None:
    """Applies all DreamBoothJobs of a tenant at once; they write to folders of one claim."""
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    shelf = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shelf"}, "spec": claim}
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "dreambooth.io/v1alpha1",
            "kind": "DreamBoothJob",
            "metadata": {"name": f"dog-{number}"},
            "spec": small(volumes={"output": {"claimName": "shelf"}}),
        }
        for number in range(JOBS)
    ]
    photos = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "photos"}}
    every = {"apiVersion": "v1", "kind": "List", "items": [photos, shelf, *items]}
    tenant.kubectl("apply", "--filename", "-", stdin=json.dumps(every))


def _until_complete(tenants: list[Tenant]) -> None:
    """Waits for the end of all DreamBoothJobs; no tenant may have more pods than GPUs in its quota."""
    deadline = time.monotonic() + PATIENCE
    while True:
        phases = Counter(job.get("status", {}).get("phase") for tenant in tenants for job in tenant.items("dbj"))
        assert "Failed" not in phases, tenants[0].story()
        for tenant in tenants:
            assert len(tenant.pods()) <= GPUS
        if phases == {"Complete": JOBS * len(tenants)}:
            return
        assert time.monotonic() < deadline, f"{phases}\n{tenants[0].story()}"
        time.sleep(1)


def _assert_fair(tenants: list[Tenant]) -> None:
    jobs = {tenant.name: tenant.items("dbj") for tenant in tenants}
    totals = {name: sum(job["status"]["gpuSeconds"] for job in items) for name, items in jobs.items()}
    first, second = totals.values()
    assert abs(first - second) < 0.1 * max(first, second), totals
    # The difference never exceeds the number of GPUs of both.
    ends = sorted((job["status"]["completionTime"], name) for name, items in jobs.items() for job in items)
    done: Counter[str] = Counter()
    for _, name in ends:
        done[name] += 1
        counts = [done[tenant.name] for tenant in tenants]
        assert abs(counts[0] - counts[1]) <= 2 * GPUS, ends
