"""Two operators that serve the same DreamBoothJobs notice each other, in a real control plane; two replicas of one do not."""

import asyncio
import itertools
import json
from pathlib import Path

import pytest

from dreambooth_operator.kube.client import Cluster
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import applied_job
from tests.operator.operators import Operator, operator
from tests.patience import PATIENCE

pytestmark = pytest.mark.slow

NOTICED = "another operator serves the same DreamBoothJobs"


async def change_until(noticed: Operator, other: Operator, cluster: Kubectl, namespace: str) -> None:
    """Suspends and resumes a DreamBoothJob until one of the operators has noticed the other one."""
    async with asyncio.timeout(PATIENCE):
        for suspend in itertools.cycle((True, False)):
            if any(NOTICED in line for one in (noticed, other) for line in one.lines):
                return
            patch = json.dumps({"spec": {"suspend": suspend}})
            cluster.kubectl(
                "--namespace", namespace, "patch", "dreamboothjob", "dog", "--type=merge", f"--patch={patch}"
            )
            await asyncio.sleep(2)


def test_operators_with_different_leases_notice_each_other(kubeconfig: Path, namespace: str, cluster: Kubectl) -> None:
    async def test() -> None:
        client = await Cluster.connect()
        async with (
            operator(kubeconfig, namespace) as one,
            operator(kubeconfig, namespace, identity="two", lease_name="another") as two,
        ):
            await one.said("acquired the Lease")
            await two.said("acquired the Lease")
            await client.create(applied_job(namespace))
            await change_until(one, two, cluster, namespace)
            assert await one.metric("other_operators") + await two.metric("other_operators") >= 1
        await client.close()

    asyncio.run(test())


@pytest.mark.timed
def test_the_next_leader_of_the_same_lease_is_no_other_operator(
    kubeconfig: Path, namespace: str, cluster: Kubectl
) -> None:
    async def test() -> None:
        client = await Cluster.connect()
        for identity in ("one", "two"):
            async with operator(kubeconfig, namespace, identity=identity, lease_seconds=3) as leader:
                await leader.said("acquired the Lease")
                await client.create(applied_job(namespace, f"dog-{identity}"))
                await leader.said(f"{namespace}/dog-{identity}: ConfigMapNotFound")
                assert [line for line in leader.lines if NOTICED in line] == []
        await client.close()

    asyncio.run(test())
