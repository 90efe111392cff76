"""An operator and DreamBoothScenes in a real control plane: a scene starts as soon as its DreamBoothJob has ended."""

import asyncio
from pathlib import Path
from typing import Any

from dreambooth_operator.kube.client import Cluster
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import until
from tests.operator.operators import operator
from tests.permissions import Check, complete_job, scene


def shows(admin: Cluster, namespace: str, phase: str, reason: str) -> Check:
    async def check() -> bool:
        found = await admin.get("DreamBoothScene", namespace, "beach")
        status = (found or {}).get("status", {})
        running = [one["reason"] for one in status.get("conditions", ()) if one["type"] == "Running"]
        return (status.get("phase"), running) == (phase, [reason])

    return check


async def objects(admin: Cluster, namespace: str) -> list[tuple[str, str]]:
    """The objects of scenes, by kind and name."""
    kinds = "ConfigMap", "Job", "NetworkPolicy"
    lists = [(kind, (await admin.list(kind, namespace, "dreambooth.io/scene"))[0]) for kind in kinds]
    return [(kind, item["metadata"]["name"]) for kind, items in lists for item in items]


def test_a_scene_starts_when_its_job_has_ended(cluster: Kubectl, kubeconfig: Path, namespace: str) -> None:
    async def test() -> None:
        admin = await Cluster.connect()
        async with operator(kubeconfig, namespace, lease_name="one"):
            await admin.create(scene(namespace, "beach"))
            await until(shows(admin, namespace, "Pending", "WaitingForObjects"))
            await complete_job(admin, cluster, namespace)
            # The next look at the scene itself may be minutes away.
            await until(shows(admin, namespace, "Starting", "Starting"))
            assert await objects(admin, namespace) == [
                ("ConfigMap", "beach-scene-config"),
                ("Job", "beach-scene-0"),
                ("NetworkPolicy", "beach-scene"),
            ]
            cluster.kubectl("delete", "dbs", "beach", f"--namespace={namespace}")
            await until(lambda: _none(admin, namespace))
        await admin.close()

    asyncio.run(test())


async def _none(admin: Cluster, namespace: str) -> Any:
    return await objects(admin, namespace) == []
