"""Helpers for tests against an API server: a client, a DreamBoothJob, and a network with failures."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from dreambooth_api.job import KIND
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.kube.client import Cluster
from tests.patience import PATIENCE


def with_cluster(test: Callable[[Cluster], Awaitable[None]]) -> None:
    """Runs a test with a client."""

    async def run() -> None:
        cluster = await Cluster.connect()
        try:
            await test(cluster)
        finally:
            await cluster.close()

    asyncio.run(run())


def applied_job(namespace: str, name: str = "dog") -> dict[str, Any]:
    """A minimal DreamBoothJob with photos from the ConfigMap `photos`."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"source": "embedded://emoji"},
            "subject": {"class": "dog", "identifier": "sks", "images": {"configMap": {"name": "photos"}}},
            "resources": {"gpusPerNode": 0},
        },
    }


async def until(condition: Callable[[], Any]) -> Any:
    """Waits until a condition, a function or a coroutine function, holds; returns its value."""
    async with asyncio.timeout(PATIENCE):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.05)


class Network:
    """A TCP proxy for the API server, which can fail in two ways."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()

    def hang(self) -> None:
        """Keeps connections open without forwarding data, as a firewall that dropped them or a server that hangs."""
        self._flows.clear()

    def break_off(self) -> None:
        """Closes all connections and refuses new ones, as if the server was down."""
        self._refuses = True
        for writer in list(self._writers):
            writer.close()

    def heal(self) -> None:
        """Forwards data again, including the data that was held back."""
        self._refuses = False
        self._flows.set()

    def forget(self) -> None:
        """Drops the data that was held back without closing connections; new connections work."""
        old, self._flows = self._flows, asyncio.Event()
        self._flows.set()
        assert not old.is_set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection."""
        if self._refuses:
            writer.close()
            return
        flows = self._flows
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            await asyncio.gather(_pump(reader, far_writer, flows), _pump(far_reader, writer, flows))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            await flows.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def network(kubeconfig: Path, folder: Path) -> AsyncIterator[tuple[Network, Path]]:
    """A network that can fail, and a kubeconfig that leads through it."""
    document = yaml.safe_load(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    address = urlsplit(cluster["server"])
    proxy = Network(address.hostname or "", address.port or 443)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    cluster["server"] = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    cluster.setdefault("tls-server-name", address.hostname)
    path = folder / "through-network"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(document))
    try:
        yield proxy, path
    finally:
        proxy.heal()
        proxy.break_off()
        server.close()


def environment(kubeconfig: Path) -> dict[str, str]:
    """The environment of a process that connects to a cluster."""
    return {**os.environ, "KUBECONFIG": str(kubeconfig)}
