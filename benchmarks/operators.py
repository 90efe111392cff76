"""Starts an operator for a benchmark, and creates its namespaces. Used by `reconcile.py`, `idle.py` and
`overhead.py`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from dreambooth_api.job import KIND
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.kube.client import Cluster

OPERATOR = [sys.executable, "-m", "dreambooth_operator"]
NAMESPACE = "dreambooth-benchmark"
PHOTOS = "photos"
PATIENCE_SECONDS = 60
DELETED_SECONDS = 600
"""Most seconds until a namespace with a thousand DreamBoothJobs is deleted."""
WATCHES_SECONDS = 3
"""Most seconds until the watches of an operator begin after it has acquired the Lease."""


@asynccontextmanager
async def stage(namespaces: Sequence[str] = (NAMESPACE,)) -> AsyncIterator[tuple[Cluster, client.ApiClient]]:
    """Clients of a cluster in which the namespaces exist while the block runs."""
    cluster = await Cluster.connect()
    api = client.ApiClient(cluster.configuration)
    core = client.CoreV1Api(api)
    try:
        for namespace in namespaces:
            await _make_namespace(core, namespace)
        try:
            yield cluster, api
        finally:
            for namespace in namespaces:
                await core.delete_namespace(namespace)
    finally:
        await api.close()
        await cluster.close()


async def _make_namespace(core: client.CoreV1Api, name: str) -> None:
    """Creates a namespace with the photos of the DreamBoothJobs, as soon as the one of an earlier run is deleted."""
    for _ in range(DELETED_SECONDS):
        try:
            await core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
            photos = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=PHOTOS))
            await core.create_namespaced_config_map(name, photos)
            return
        except ApiException as error:
            if error.status != 409:
                raise
        await asyncio.sleep(1)
    raise SystemExit(f"the namespace {name} of an earlier run is still terminating")


@asynccontextmanager
async def leading_operator(
    more: Mapping[str, str] | None = None, namespaces: Sequence[str] = (NAMESPACE,)
) -> AsyncIterator[asyncio.subprocess.Process]:
    """An operator that is the leader and watches, while the block runs.

    Args:
        more: further settings, with upper-case names.
        namespaces: the namespaces that it watches; its Lease is in the first one.
    """
    operator = await _start_operator({"NAMESPACES": ",".join(namespaces), "NAMESPACE": namespaces[0], **(more or {})})
    try:
        await asyncio.sleep(WATCHES_SECONDS)
        yield operator
    finally:
        operator.terminate()
        await operator.wait()


async def _start_operator(more: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Starts an operator and waits until it leads."""
    settings = {
        "TRAINER_IMAGE": "trainer",
        "IDENTITY": "benchmark",
        "PORT": "0",
        "LOG_LEVEL": "INFO",
        **more,
    }
    environment = {**os.environ, **{f"DREAMBOOTH_{name}": value for name, value in settings.items()}}
    operator = await asyncio.create_subprocess_exec(*OPERATOR, env=environment, stderr=asyncio.subprocess.PIPE)
    assert operator.stderr is not None
    async for line in operator.stderr:
        if b" leads: " in line:
            break
    else:
        raise SystemExit("the operator ended")
    asyncio.create_task(_drain(operator.stderr))  # noqa: RUF006  # it ends with the process
    return operator


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


def dreambooth_job(name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    """A DreamBoothJob."""
    spec = {
        "model": {"source": "embedded://emoji"},
        "subject": {"class": "dog", "identifier": "sks", "images": {"configMap": {"name": PHOTOS}}},
        "resources": {"gpusPerNode": 0},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
