"""Interruptions of a DreamBoothJob: no work is lost or repeated."""

import os
import random
import signal
import time
from typing import Any

import pytest

from tests.cluster.shared import read_state
from tests.conftest import Cluster
from tests.e2e.tenant import Tenant, small
from tests.patience import PATIENCE

LONG = {"steps": 100_000}
"""More steps than a test waits for."""


def in_training(tenant: Tenant, steps: int = 10, name: str = "dog") -> dict[str, Any]:
    """Waits until a DreamBoothJob has trained some steps and saved a checkpoint."""
    return dict(tenant.until(lambda status: status.get("progress", {}).get("step", 0) >= steps, name=name))


def kill_trainer(tenant: Tenant) -> None:
    """Kills the trainer with SIGKILL on the node, as the kernel would."""
    (pod,) = tenant.pods()
    tenant.cluster.kill_container(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://"))


def test_a_killed_trainer_resumes(tenant: Tenant) -> None:
    tenant.apply(small(training={"steps": 60}))
    in_training(tenant, 20)
    kill_trainer(tenant)
    status = tenant.until_phase("Complete")
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Killed", "Completed"]
    assert status["failures"] == 1
    losses = tenant.read("dog", "dog/losses.jsonl").splitlines()
    assert len(losses) == 60


def test_suspend_and_resume(tenant: Tenant) -> None:
    tenant.apply(small(training=LONG))
    before = in_training(tenant)["progress"]["step"]
    tenant.patch({"suspend": True})
    tenant.until_phase("Suspended")
    tenant.until(lambda _: not tenant.items("pods", "dreambooth.io/job"))
    assert tenant.items("jobs") == []
    saved = tenant.status()["progress"]["step"]
    assert saved >= before
    tenant.patch({"suspend": False})
    after = tenant.until(lambda status: status["phase"] == "Running" and status["progress"]["step"] > saved)
    assert after["failures"] == 0


def test_deletion_keeps_only_a_retained_claim(tenant: Tenant) -> None:
    tenant.apply(small(training=LONG))
    tenant.apply(
        small(training=LONG, volumes={"output": {"create": {"size": "1Gi", "deletionPolicy": "Delete"}}}), "other"
    )
    for name in ("dog", "other"):
        tenant.until_phase("Running", name=name)
    tenant.kubectl("delete", "dbj", "--all", f"--timeout={PATIENCE}s")
    deadline = time.monotonic() + PATIENCE
    while left := tenant.items("jobs,pods,configmaps", "app.kubernetes.io/managed-by=dreambooth-operator"):
        assert time.monotonic() < deadline, left
        time.sleep(0.3)
    assert [claim["metadata"]["name"] for claim in tenant.items("pvc")] == ["dog"]


def test_an_operator_that_is_killed_loses_and_doubles_nothing(tenant: Tenant, operator: str, node: Cluster) -> None:
    tenant.apply(small(training={"steps": 60}))
    in_training(tenant)
    node.kubectl("--namespace", operator, "delete", "pods", "--all", "--grace-period=0", "--force")
    status = tenant.until_phase("Complete")
    assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert len(tenant.items("jobs")) == 1


@pytest.mark.slow
def test_twenty_kills_of_the_operator_during_ten_jobs(tenant: Tenant, operator: str, node: Cluster) -> None:
    names = [f"dog-{number}" for number in range(10)]
    for name in names:
        tenant.apply(small(), name)
    pauses = random.Random(0)
    for _ in range(20):
        time.sleep(pauses.uniform(1, 8))
        node.kubectl("--namespace", operator, "delete", "pods", "--all", "--grace-period=0", "--force")
    for name in names:
        status = tenant.until_phase("Complete", name=name)
        assert [attempt["reason"] for attempt in status["attempts"]] == ["Completed"]
    assert sorted(job["metadata"]["name"] for job in tenant.items("jobs")) == [f"{name}-0" for name in names]


def test_an_operator_that_is_upgraded_writes_nothing_twice(tenant: Tenant, operator: str, node: Cluster) -> None:
    tenant.apply(small(training={"steps": 60}))
    in_training(tenant)
    node.kubectl("--namespace", operator, "rollout", "restart", "deployment")
    node.kubectl("--namespace", operator, "rollout", "status", "deployment", f"--timeout={PATIENCE}s")
    assert [attempt["reason"] for attempt in tenant.until_phase("Complete")["attempts"]] == ["Completed"]


def test_an_api_server_that_restarts_is_waited_for(tenant: Tenant) -> None:
    state = read_state()
    if state is None:
        pytest.skip("only the test cluster's API server may be stopped")
    tenant.apply(small(training={"steps": 200}))
    in_training(tenant)
    os.kill(state.pid, signal.SIGUSR1)
    time.sleep(5)
    os.kill(state.pid, signal.SIGUSR2)
    tenant.cluster.until_reachable()
    assert [attempt["reason"] for attempt in tenant.until_phase("Complete")["attempts"]] == ["Completed"]


def test_two_nodes_train_together_and_restart_together(tenant: Tenant) -> None:
    """Two pods with one process each, which find each other through a headless Service."""
    tenant.apply(
        small(
            training={"steps": 60},
            resources={"nodes": 2, "gpusPerNode": 1},
            volumes={"output": {"create": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}},
        )
    )
    in_training(tenant)
    assert len(tenant.pods()) == 2
    victim = tenant.pods()[1]["metadata"]["name"]
    tenant.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    status = tenant.until_phase("Complete")
    assert status["attempts"][-1]["reason"] == "Completed"
    assert len(status["attempts"]) == 2


def test_an_evicted_pod_is_replaced_and_not_counted(tenant: Tenant) -> None:
    tenant.apply(small(training={"steps": 60}))
    in_training(tenant)
    (pod,) = tenant.pods()
    tenant.cluster.evict(tenant.name, pod["metadata"]["name"])
    status = tenant.until_phase("Complete")
    assert status["failures"] == 0
