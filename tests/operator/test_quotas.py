"""Violations of ResourceQuota and LimitRange in a real control plane are reported as conditions."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.kube.client import Cluster
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.patience import PATIENCE

BOUNDS = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: team}
spec: {hard: {requests.nvidia.com/gpu: "1", requests.storage: 100Gi}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: team}
spec: {limits: [{type: Container, max: {memory: 32Gi}}]}
"""

CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "two-gpus": ({"resources": {"gpusPerNode": 2}}, "QuotaExceeded", "requested: requests.nvidia.com/gpu=2"),
    "much-memory": (
        {"resources": {"gpusPerNode": 0, "memory": "33Gi"}},
        "LimitRangeExceeded",
        "maximum memory usage per Container is 32Gi",
    ),
    "much-room": (
        {"resources": {"gpusPerNode": 0}, "volumes": {"output": {"create": {"size": "200Gi"}}}},
        "QuotaExceeded",
        "PersistentVolumeClaim much-room",
    ),
    "two-pods": (
        {"resources": {"gpusPerNode": 1, "nodes": 2}},
        "QuotaExceeded",
        "used: requests.nvidia.com/gpu=1",
    ),
    "no-class": (
        {"resources": {"gpusPerNode": 0}, "scheduling": {"priorityClassName": "none"}},
        "Refused",
        "no PriorityClass with name none",
    ),
}


@pytest.mark.slow
def test_quota_violations_are_reported_with_a_remedy(kubeconfig: Path, namespace: str, cluster: Kubectl) -> None:
    cluster.kubectl("--namespace", namespace, "apply", "--filename", "-", stdin=BOUNDS)
    cluster.kubectl("--namespace", namespace, "create", "configmap", "photos")
    wait = "--for=jsonpath={.status.hard.requests\\.storage}=100Gi", "resourcequota/team", f"--timeout={PATIENCE}s"
    cluster.kubectl("--namespace", namespace, "wait", *wait)

    async def test() -> None:
        client = await Cluster.connect()
        async with operator(kubeconfig, namespace):
            for name, (spec, _, _) in CASES.items():
                job = applied_job(namespace, name)
                job["spec"] |= spec
                await client.create(job)
            await asyncio.gather(
                *(until(_told(client, namespace, name, *words)) for name, (_, *words) in CASES.items())
            )
        await client.close()

    asyncio.run(test())


def _told(client: Cluster, namespace: str, name: str, word: str, words: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        job = await client.get("DreamBoothJob", namespace, name)
        status = job.get("status", {}) if job else {}
        reasons = {one["type"]: one["reason"] for one in status.get("conditions", ())}
        return reasons.get("Running") == word and words in status["message"] and status["phase"] == "Pending"

    return check
