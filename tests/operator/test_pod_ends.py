"""Pods that end without a disruption, with real controllers and a fake node that writes what the kubelet writes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.operator.pretended_node import PretendedNode

MESSAGE = 'Usage of EmptyDir volume "shared-memory" exceeds the limit "2Gi". '


@pytest.mark.parametrize("code", [9, 137])
def test_a_pod_that_is_evicted_for_its_own_limits_counts_as_a_failure(
    code: int, cluster: Cluster, kubeconfig: Path, namespace: str, pretended: PretendedNode
) -> None:
    def found(kind: str) -> list[dict[str, Any]]:
        return cluster.items(kind, f"--namespace={namespace}")

    async def test() -> None:
        job = applied_job(namespace)
        job["spec"] |= {"scheduling": pretended.scheduling, "retries": 0}
        cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", f"--namespace={namespace}")
        async with operator(kubeconfig, namespace):
            cluster.kubectl("create", "--filename=-", stdin=json.dumps(job))
            (pod,) = await until(
                lambda: [one for one in found("pods") if one["spec"].get("nodeName") == pretended.name]
            )
            pretended.run(pod)
            await until(lambda: found("dreamboothjobs")[0]["status"]["phase"] == "Running")
            pretended.evict_for_its_limits(pod, code, MESSAGE)
            await until(lambda: found("dreamboothjobs")[0]["status"]["phase"] == "Failed")
            status = found("dreamboothjobs")[0]["status"]
            (attempt,) = status["attempts"]
            assert (attempt["reason"], attempt["disruption"], status["failures"]) == ("StorageFull", False, 1)
            assert MESSAGE.strip() in status["message"]
            # With exit code 9, the Job would replace the pod after 10 s.
            await until(lambda: all(_is_over(one) for one in found("jobs")))

    asyncio.run(test())


def _is_over(job: dict[str, Any]) -> bool:
    conditions = job["status"].get("conditions", ())
    return "deletionTimestamp" in job["metadata"] or any(one["type"] == "Failed" for one in conditions)
