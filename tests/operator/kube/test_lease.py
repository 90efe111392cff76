import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.kube.lease import Leadership, LeadershipLost
from dreambooth_operator.settings import Settings
from tests.operator.clusters import network, until, with_cluster
from tests.patience import PATIENCE

pytestmark = pytest.mark.timed

LEASE_SECONDS = 3


@asynccontextmanager
async def replica(
    cluster: Cluster, namespace: str, identity: str
) -> AsyncIterator[tuple[Leadership, asyncio.Task[None]]]:
    values = {"trainer_image": "trainer", "namespace": namespace, "identity": identity, "lease_seconds": LEASE_SECONDS}
    leadership = Leadership(cluster, Settings.model_validate(values))
    task = asyncio.create_task(leadership.run())
    try:
        yield leadership, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def lease(cluster: Cluster, namespace: str) -> dict[str, Any]:
    found = await cluster.get("Lease", namespace, "dreambooth-operator")
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


def test_one_of_two_replicas_leads_and_renews_the_lease(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        async with replica(cluster, namespace, "one") as (one, _), replica(cluster, namespace, "two") as (two, _):
            await until(lambda: one.elected.is_set() or two.elected.is_set())
            await asyncio.sleep(2 * LEASE_SECONDS)
            assert one.elected.is_set() + two.elected.is_set() == 1
            assert one.held() + two.held() == 1
            assert not one.stalled() and not two.stalled()
            spec = await lease(cluster, namespace)
            assert spec["holderIdentity"] == ("one" if one.elected.is_set() else "two")
            assert (spec["leaseTransitions"], spec["leaseDurationSeconds"]) == (0, LEASE_SECONDS)
            assert spec["acquireTime"] < spec["renewTime"]

    with_cluster(test)


def test_the_lease_of_a_killed_replica_is_taken_over_once_it_expires(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        async with replica(cluster, namespace, "one") as (one, dying):
            await one.elected.wait()
            async with replica(cluster, namespace, "two") as (two, _):
                await asyncio.sleep(1)
                dying.cancel()
                while not two.elected.is_set():
                    assert one.held() or not two.held(), "the loss was not noticed"
                    assert not (one.held() and two.held()), "two could write at the same time"
                    await asyncio.sleep(0.02)
                spec = await lease(cluster, namespace)
                assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)

    with_cluster(test)


def test_a_released_lease_is_acquired_at_once(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        async with replica(cluster, namespace, "one") as (one, ending):
            await one.elected.wait()
            async with replica(cluster, namespace, "two") as (two, _):
                await asyncio.sleep(0.2)
                ending.cancel()
                begun = time.monotonic()
                await one.release()
                assert not one.held()
                await two.elected.wait()
                assert time.monotonic() - begun < LEASE_SECONDS / 2
                await one.release()
                assert (await lease(cluster, namespace))["holderIdentity"] == "two"

    with_cluster(test)


@pytest.mark.parametrize("way", ["hang", "break_off"])
def test_a_replica_that_can_not_renew_the_lease_stops_in_time(
    way: str, kubeconfig: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with network(kubeconfig, tmp_path) as (wire, path):
            monkeypatch.setenv("KUBECONFIG", str(path))
            cluster = await Cluster.connect()
            async with replica(cluster, namespace, "one") as (one, task):
                await one.elected.wait()
                getattr(wire, way)()
                begun = time.monotonic()
                with pytest.raises(LeadershipLost):
                    await asyncio.wait_for(task, PATIENCE)
                assert time.monotonic() - begun < 2 * LEASE_SECONDS
                await asyncio.sleep(max(0.0, begun + LEASE_SECONDS - time.monotonic()))
                assert not one.held()
            await cluster.close()

    asyncio.run(test())


def test_a_short_outage_does_not_end_leadership(
    kubeconfig: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with network(kubeconfig, tmp_path) as (wire, path):
            monkeypatch.setenv("KUBECONFIG", str(path))
            cluster = await Cluster.connect()
            async with replica(cluster, namespace, "one") as (one, task):
                await one.elected.wait()
                for outage in (wire.break_off, wire.hang):
                    outage()
                    await asyncio.sleep(LEASE_SECONDS / 2)
                    wire.heal()
                    await asyncio.sleep(LEASE_SECONDS)
                    assert one.held() and not task.done()
            await cluster.close()

    asyncio.run(test())


def test_a_stalled_election_is_detected(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        async with replica(cluster, namespace, "one") as (one, task):
            await one.elected.wait()
            assert not one.stalled()
            task.cancel()
            await until(one.stalled)

    with_cluster(test)


def test_a_wall_clock_that_jumps_does_not_affect_the_election(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, offset = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + offset)

    async def test(cluster: Cluster) -> None:
        nonlocal offset
        async with replica(cluster, namespace, "one") as (one, task):
            await one.elected.wait()
            async with replica(cluster, namespace, "two") as (two, _):
                for jump in (3600.0, -3600.0):
                    offset += jump
                    await asyncio.sleep(LEASE_SECONDS)
                    assert one.held() and not two.elected.is_set() and not task.done()

    with_cluster(test)


def test_the_lease_is_lost_when_another_replica_has_acquired_it(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        async with replica(cluster, namespace, "one") as (one, task):
            await one.elected.wait()
            found = await cluster.get("Lease", namespace, "dreambooth-operator")
            assert found is not None
            await cluster.replace({**found, "spec": {**found["spec"], "holderIdentity": "two"}})
            with pytest.raises(LeadershipLost):
                await asyncio.wait_for(task, PATIENCE)
            assert not one.held()

    with_cluster(test)
