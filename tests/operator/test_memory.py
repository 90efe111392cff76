"""The memory of an operator when a tenant creates large pods with its labels, in a real API server."""

import asyncio
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABEL_JOB
from tests.operator.clusters import until
from tests.operator.operators import operator
from tests.operator.test_main import LEADS

PODS = 300
LIMIT = 512
"""Memory limit of the chart, in MiB."""


def large_pod(namespace: str, number: int) -> dict[str, Any]:
    """A pod of one megabyte that is never scheduled."""
    environment = [{"name": f"V{index}", "value": "x" * 10_000} for index in range(100)]
    container = {"name": "trainer", "image": "trainer", "env": environment}
    spec = {"containers": [container], "schedulingGates": [{"name": "example.com/never"}]}
    metadata = {"name": f"large-{number}", "namespace": namespace, "labels": {LABEL_JOB: "dog", LABEL_ATTEMPT: "0"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def peak_mib(process: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) // 1024


async def _succeeds(request: Awaitable[None]) -> bool:
    try:
        await request
    except ClusterError:
        return False
    return True


@pytest.mark.slow
def test_large_pods_of_a_tenant_do_not_fill_the_memory(kubeconfig: Path, namespace: str) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        limit = asyncio.Semaphore(8)

        async def create(number: int) -> None:
            async with limit:
                await cluster.create(large_pod(namespace, number))

        # A new namespace gets its ServiceAccount a moment later.
        await until(lambda: _succeeds(create(PODS)))
        await asyncio.gather(*(create(number) for number in range(PODS)))
        async with operator(kubeconfig, namespace, resync_seconds=5) as one:
            await one.said(LEADS)

            async def stored() -> bool:
                return await one.metric("stored_objects") >= PODS

            await until(stored)
            await asyncio.sleep(15)
            peak = peak_mib(one.process.pid)
            assert peak < LIMIT, f"{peak} MiB"
        await cluster.close()

    asyncio.run(test())
