"""An operator for two namespaces, with the permissions of the chart: it may not read one, one is deleted, labels change."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_operator.kube.client import Cluster
from tests.conftest import Cluster as SharedCluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import Operator, operator
from tests.operator.test_main import LEADS, has_job, photos
from tests.permissions import access_of, kubeconfig_of

RELEASE = "dreambooth"


@pytest.fixture
def other(cluster: SharedCluster) -> Iterator[str]:
    """A second namespace."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def access(cluster: SharedCluster, namespace: str, other: str) -> list[dict[str, Any]]:
    return access_of(cluster, RELEASE, namespace, f"namespaces={{{namespace},{other}}}")


@pytest.fixture
def restricted(
    cluster: SharedCluster, namespace: str, other: str, access: list[dict[str, Any]], tmp_path: Path
) -> Path:
    """A kubeconfig of the operator's ServiceAccount, which has no permissions in the second namespace."""
    here = [one for one in access if one["metadata"].get("namespace") != other]
    cluster.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(here))
    return kubeconfig_of(cluster, RELEASE, namespace, tmp_path)


@pytest.fixture
def selecting(cluster: SharedCluster, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of an operator that watches the namespaces with a label; the account has the name of the namespace."""
    access = access_of(cluster, namespace, namespace, f"namespaceSelector=team={namespace}")
    cluster.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(access))
    yield kubeconfig_of(cluster, namespace, namespace, tmp_path)
    shared = [one for one in access if "namespace" not in one["metadata"]]
    cluster.kubectl("delete", "--filename", "-", stdin=yaml.safe_dump_all(shared))


def test_namespaces_that_begin_or_cease_to_match_a_selector_are_followed(
    cluster: SharedCluster, namespace: str, other: str, selecting: Path
) -> None:
    def label(space: str, change: str) -> None:
        cluster.kubectl("label", "namespace", space, change)

    async def test() -> None:
        admin = await Cluster.connect()
        for space in (namespace, other):
            await photos(admin, space)
            await admin.create(applied_job(space))
        label(namespace, f"team={namespace}")
        settings = {"namespaces": "", "namespace_selector": f"team={namespace}", "lease_name": namespace}
        async with operator(selecting, namespace, **settings) as one:
            await until(has_job(admin, namespace, "dog"))
            assert not await has_job(admin, other, "dog")()
            label(other, f"team={namespace}")
            await until(has_job(admin, other, "dog"))

            label(namespace, "team-")
            await one.said(f"namespace {namespace} ceases to match the selector")
            for space in (namespace, other):
                await admin.create(applied_job(space, "cat"))
            await until(has_job(admin, other, "cat"))
            assert not await has_job(admin, namespace, "cat")()
            assert await has_job(admin, namespace, "dog")(), "it continues"
            label(namespace, f"team={namespace}")
            await until(has_job(admin, namespace, "cat"))
            assert await one.metric("missed_changes_total") == 0
            assert not [line for line in one.lines if "forbidden" in line.lower()]
        await admin.close()

    asyncio.run(test())


async def _unlisted(one: Operator, number: int) -> bool:
    return await one.metric("unlisted_namespaces") == number


@pytest.mark.slow
@pytest.mark.timed
def test_a_namespace_that_can_not_be_listed_does_not_affect_others(
    cluster: SharedCluster, namespace: str, other: str, access: list[dict[str, Any]], restricted: Path
) -> None:
    async def test() -> None:
        admin = await Cluster.connect()
        for space in (namespace, other):
            await photos(admin, space)
        settings = {"namespaces": f"{other},{namespace}", "lease_name": RELEASE, "resync_seconds": 1}
        async with operator(restricted, namespace, **settings) as one:
            await one.said(LEADS)
            await one.said(f"can't list namespace {other}")
            await admin.create(applied_job(namespace))
            await until(has_job(admin, namespace, "dog"))
            assert await _unlisted(one, 1)

            there = [item for item in access if item["metadata"].get("namespace") == other]
            cluster.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(there))
            await admin.create(applied_job(other))
            await until(has_job(admin, other, "dog"))
            await until(lambda: _unlisted(one, 0))

            cluster.kubectl("delete", "namespace", other, "--wait=false")
            # Kubernetes takes minutes to delete a namespace while it deletes those of other tests.
            await until(lambda: _unlisted(one, 1))
            await admin.create(applied_job(namespace, "cat"))
            async with asyncio.timeout(20):
                await until(has_job(admin, namespace, "cat"))
            assert one.process.returncode is None
        await admin.close()

    asyncio.run(test())
