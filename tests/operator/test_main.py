import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dreambooth_api.job import KIND
from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Reference
from tests.operator.clusters import applied_job, network, until
from tests.operator.operators import COMMAND, operator
from tests.patience import PATIENCE

LEADS = "leads: it acquired the Lease"
Check = Callable[[], Awaitable[bool]]


async def photos(cluster: Cluster, namespace: str) -> None:
    metadata = {"name": "photos", "namespace": namespace}
    await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def has_job(cluster: Cluster, namespace: str, name: str) -> Check:
    async def check() -> bool:
        items, _ = await cluster.list("Job", namespace, labels=f"{LABEL_JOB}={name}")
        return bool(items)

    return check


async def versions(cluster: Cluster, namespace: str) -> dict[tuple[str, str], str]:
    """The resource version of everything that an operator may write."""
    kinds = ("DreamBoothJob", "Job", "ConfigMap", "Service", "NetworkPolicy", "PersistentVolumeClaim", "Event")
    found = [item for kind in kinds for item in (await cluster.list(kind, namespace))[0]]
    # Other components repeat Events about a claim without a volume.
    found = [item for item in found if item.get("involvedObject", {}).get("kind", KIND) == KIND]
    return {(item["kind"], item["metadata"]["name"]): item["metadata"]["resourceVersion"] for item in found}


def test_invalid_settings_are_reported_on_one_line_each() -> None:
    environment = {**os.environ, "DREAMBOOTH_WORKERS": "0", "DREAMBOOTH_NO_SUCH_SETTING": "1"}
    ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 2
    lines = [line.partition(":")[0] for line in ended.stderr.splitlines()]
    assert sorted(lines) == ["DREAMBOOTH_NO_SUCH_SETTING", "DREAMBOOTH_TRAINER_IMAGE", "DREAMBOOTH_WORKERS"]


def test_namespaces_have_names_or_a_selector() -> None:
    given = {"TRAINER_IMAGE": "trainer", "NAMESPACES": "team-a", "NAMESPACE_SELECTOR": "team=b"}
    environment = {**os.environ, **{f"DREAMBOOTH_{name}": value for name, value in given.items()}}
    ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 2
    problem = "'team=b' can't be combined with DREAMBOOTH_NAMESPACES: set one of them"
    assert ended.stderr == f"DREAMBOOTH_NAMESPACE_SELECTOR: Value error, {problem}\n"


def test_more_workers_are_used_while_the_api_server_answers_quickly(kubeconfig: Path, namespace: str) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        async with operator(kubeconfig, namespace, workers=1) as one:
            await one.said(LEADS)
            assert await one.metric("largest_busy_workers") == 1
            names = [f"dog-{number}" for number in range(20)]
            await asyncio.gather(*(cluster.create(applied_job(namespace, name)) for name in names))

            async def more() -> bool:
                return await one.metric("largest_busy_workers") > 1

            await until(more)
            for name in names:
                await until(has_job(cluster, namespace, name))
        await cluster.close()

    asyncio.run(test())


@pytest.mark.timed
def test_a_job_is_created_and_the_operator_stops_gracefully(kubeconfig: Path, namespace: str) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        async with operator(kubeconfig, namespace, log_format="json") as one:
            await one.said(LEADS)
            await until(lambda: _is(one.get("/readyz"), 200))
            await cluster.create(applied_job(namespace))
            await until(has_job(cluster, namespace, "dog"))
            assert await one.get("/healthz") == (200, "ok")
            assert await one.metric("leader") == 1
            assert await one.metric("api_request_seconds_count") > 1
            one.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(one.process.wait(), 20) == 0
            await one.said("released the Lease")
        lease = await cluster.get("Lease", namespace, "dreambooth-operator")
        assert lease is not None and not lease["spec"]["holderIdentity"]
        await cluster.close()

    asyncio.run(test())


async def _is(answer: Awaitable[tuple[int, str]], status: int) -> bool:
    return (await answer)[0] == status


@pytest.mark.slow
def test_a_killed_leader_is_replaced_when_its_lease_expires(kubeconfig: Path, namespace: str) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        async with (
            operator(kubeconfig, namespace, identity="one") as one,
            operator(kubeconfig, namespace, identity="two") as two,
        ):
            await asyncio.wait(
                [asyncio.create_task(each.said(LEADS)) for each in (one, two)], return_when="FIRST_COMPLETED"
            )
            first, second = (one, two) if any(LEADS in line for line in one.lines) else (two, one)
            await until(lambda: _is(second.get("/readyz"), 200))
            first.process.kill()
            begun = time.monotonic()
            await cluster.create(applied_job(namespace))
            await until(has_job(cluster, namespace, "dog"))
            assert time.monotonic() - begun > 10, "the Lease lasts 15 s"
        await cluster.close()

    asyncio.run(test())


def test_a_restart_writes_nothing(kubeconfig: Path, namespace: str) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        names = [f"job-{number}" for number in range(30)]
        # Queued Jobs have no pods, so their status does not change with time.
        jobs = [applied_job(namespace, name) for name in names]
        for job in jobs:
            job["spec"]["scheduling"] = {"queueName": "team"}
        async with operator(kubeconfig, namespace) as one:
            await one.said(LEADS)
            await asyncio.gather(*(cluster.create(job) for job in jobs))
            for name in names:
                await until(has_job(cluster, namespace, name))
            before: dict[tuple[str, str], str] = {}
            while before != (before := await versions(cluster, namespace)):
                await asyncio.sleep(2)
            one.process.send_signal(signal.SIGTERM)
            await one.process.wait()
        async with operator(kubeconfig, namespace) as again:
            await again.said(LEADS)
            await until(lambda: _counts(again.metric("reconcile_seconds_count"), len(names)))
            await asyncio.sleep(2)
            # Other tests publish runtimes, which are not of this namespace.
            assert await again.metric("writes_total", but="DreamBoothRuntime") == 0
            assert await again.metric("status_writes_total") == 0
            assert await versions(cluster, namespace) == before
        await cluster.close()

    asyncio.run(test())


async def _counts(metric: Awaitable[float], least: float) -> bool:
    return await metric >= least


@pytest.mark.parametrize("way", ["break_off", "hang"])
def test_the_operator_survives_an_outage_of_the_api_server(
    way: str, kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        async with network(kubeconfig, tmp_path) as (wire, path), operator(path, namespace, resync_seconds=3600) as one:
            await one.said(LEADS)
            await cluster.create(applied_job(namespace, "before"))
            await until(has_job(cluster, namespace, "before"))
            getattr(wire, way)()
            await cluster.create(applied_job(namespace, "during"))
            await asyncio.sleep(8)
            wire.heal()
            await until(has_job(cluster, namespace, "during"))
            await cluster.create(applied_job(namespace, "after"))
            await until(has_job(cluster, namespace, "after"))
            assert one.process.returncode is None
        await cluster.close()

    asyncio.run(test())


@pytest.mark.slow
@pytest.mark.timed
def test_hanging_watches_are_detected_within_about_a_minute(kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        async with network(kubeconfig, tmp_path) as (wire, path), operator(path, namespace, resync_seconds=3600) as one:
            await one.said(LEADS)
            await cluster.create(applied_job(namespace, "before"))
            await until(has_job(cluster, namespace, "before"))
            wire.hang()
            await asyncio.sleep(1)
            wire.forget()
            await cluster.create(applied_job(namespace, "during"))
            async with asyncio.timeout(80):
                await until(has_job(cluster, namespace, "during"))
            assert one.process.returncode is None
        await cluster.close()

    asyncio.run(test())


def test_the_process_exits_when_it_loses_the_lease(kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with network(kubeconfig, tmp_path) as (wire, path), operator(path, namespace, lease_seconds=3) as one:
            await one.said(LEADS)
            wire.break_off()
            await one.said("election ended")
            assert await one.process.wait() == 1

    asyncio.run(test())


@pytest.mark.slow
def test_a_list_finds_changes_that_the_watches_missed(kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    """A deletion whose event is lost with what a network held back; kopf's next list says nothing about it."""

    async def test() -> None:
        cluster = await Cluster.connect()
        await photos(cluster, namespace)
        async with network(kubeconfig, tmp_path) as (wire, path), operator(path, namespace, resync_seconds=2) as one:
            await one.said(LEADS)
            await cluster.create(applied_job(namespace))
            await until(has_job(cluster, namespace, "dog"))
            await until(lambda: _counts(one.metric("stored_objects"), 2))
            wire.hang()
            await cluster.delete(Reference("DreamBoothJob", "dog"), namespace, None)
            await asyncio.sleep(1)
            wire.forget()
            await until(lambda: _counts(_minus(one.metric("stored_objects")), 0))
            assert await one.metric("missed_changes_total") >= 1
        await cluster.close()

    asyncio.run(test())


async def _minus(metric: Awaitable[float]) -> float:
    return -(await metric)
