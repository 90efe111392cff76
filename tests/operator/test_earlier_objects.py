"""A DreamBoothJob whose objects come later, or whose predecessor has left some, in a real control plane."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.kube.client import Cluster
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator


async def with_reason(client: Cluster, namespace: str, reason: str) -> dict[str, Any]:
    """The status when its condition Running has a reason."""

    async def found() -> dict[str, Any] | None:
        job = await client.get("DreamBoothJob", namespace, "dog")
        status: dict[str, Any] = job.get("status", {}) if job else {}
        reasons = [one["reason"] for one in status.get("conditions", ()) if one["type"] == "Running"]
        return status if reasons == [reason] else None

    return dict(await until(found))


def warnings(cluster: Kubectl, namespace: str) -> list[str]:
    events = cluster.items("events", f"--namespace={namespace}")
    return [
        one["reason"] for one in events if one["type"] == "Warning" and one["involvedObject"]["kind"] == "DreamBoothJob"
    ]


@pytest.mark.slow
def test_photos_that_come_some_seconds_later_are_no_warning(kubeconfig: Path, namespace: str, cluster: Kubectl) -> None:
    async def test() -> None:
        client = await Cluster.connect()
        async with operator(kubeconfig, namespace):
            await client.create(applied_job(namespace))
            await with_reason(client, namespace, "WaitingForObjects")
            cluster.kubectl("--namespace", namespace, "create", "configmap", "photos")
            await with_reason(client, namespace, "Starting")
        assert warnings(cluster, namespace) == []
        await client.close()

    asyncio.run(test())


@pytest.mark.slow
def test_what_cascade_orphan_has_left_is_named_at_once(kubeconfig: Path, namespace: str, cluster: Kubectl) -> None:
    cluster.kubectl("--namespace", namespace, "create", "configmap", "photos")

    async def test() -> None:
        client = await Cluster.connect()
        async with operator(kubeconfig, namespace):
            await client.create(applied_job(namespace))
            await with_reason(client, namespace, "Starting")
            cluster.kubectl("--namespace", namespace, "delete", "dreamboothjob", "dog", "--cascade=orphan")
            await client.create(applied_job(namespace))
            await with_reason(client, namespace, "OrphanedObjects")

            async def named() -> set[str]:
                """The objects to delete, which lose their owner one after the other."""
                status = await with_reason(client, namespace, "OrphanedObjects")
                (objects,) = re.findall(r"kubectl delete (.*?)\.", status["message"])
                return set(objects.split()) if len(objects.split()) == 3 else set()

            objects = await until(named)
            assert objects == {"job/dog-0", "configmap/dog-config", "networkpolicy/dog"}
            cluster.kubectl("--namespace", namespace, "delete", *objects)
            await with_reason(client, namespace, "Starting")
        assert warnings(cluster, namespace) == ["OrphanedObjects"]
        await client.close()

    asyncio.run(test())
