"""A DreamBoothJob whose node is lost, with real controllers and a fake node."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.operator.pretended_node import PretendedNode


@pytest.mark.slow
def test_a_job_whose_node_is_deleted_gets_another_pod(
    cluster: Cluster, kubeconfig: Path, namespace: str, pretended: PretendedNode
) -> None:
    def found(kind: str) -> list[dict[str, Any]]:
        return cluster.items(kind, f"--namespace={namespace}")

    async def test() -> None:
        job = applied_job(namespace)
        job["spec"]["scheduling"] = pretended.scheduling
        cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", f"--namespace={namespace}")
        async with operator(kubeconfig, namespace):
            cluster.kubectl("create", "--filename=-", stdin=json.dumps(job))
            placed = await until(
                lambda: [pod for pod in found("pods") if pod["spec"].get("nodeName") == pretended.name]
            )
            (pod,) = placed
            pretended.run(pod)
            await until(lambda: found("dreamboothjobs")[0]["status"]["phase"] == "Running")
            pretended.delete()
            await until(lambda: "NodeLost" in [event["reason"] for event in found("events")])
            await until(
                lambda: [each["metadata"]["uid"] for each in found("pods")] not in ([], [pod["metadata"]["uid"]])
            )
            status = found("dreamboothjobs")[0]["status"]
            assert (status["failures"], len(status["attempts"])) == (0, 1)

    asyncio.run(test())
