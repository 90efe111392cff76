import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from kubernetes.aio import client

from dreambooth_operator.kube.client import Cluster
from tests.conftest import Cluster as SharedCluster
from tests.operator.pretended_node import PretendedNode


@pytest.fixture
def namespace(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new namespace; `Cluster.connect` connects to its cluster."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    name = f"test-{uuid.uuid4().hex[:8]}"
    asyncio.run(_with_api(lambda core: core.create_namespace({"metadata": {"name": name}})))
    yield name
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    asyncio.run(_with_api(lambda core: core.delete_namespace(name)))


@pytest.fixture
def pretended(cluster: SharedCluster, namespace: str) -> Iterator[PretendedNode]:
    """A fake node, with a volume for the DreamBoothJob `dog`."""
    node = PretendedNode(cluster, namespace)
    node.make()
    yield node
    node.delete()
    node.delete_volume()


async def _with_api(call: Callable[[client.CoreV1Api], Awaitable[object]]) -> None:
    cluster = await Cluster.connect()
    async with client.ApiClient(cluster.configuration) as api:
        await call(client.CoreV1Api(api))
    await cluster.close()
