"""Reads objects of users for `controller.py`: many workloads that are created at once often have the same photos."""

import asyncio

from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.observed import Object


class SharedReads:
    """Readers that want the same object at the same time share one request."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._running: dict[tuple[str, str, str], asyncio.Task[Object | None]] = {}

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None if it does not exist. The response may be as old as the request that is shared.

        Raises:
            ClusterError: The request failed.
        """
        address = kind, namespace, name
        read = self._running.get(address)
        if read is None:
            read = self._running[address] = asyncio.create_task(self._cluster.get(*address))
            read.add_done_callback(lambda _: self._running.pop(address))
        # A reader that is cancelled does not cancel the request of the others.
        return await asyncio.shield(read)
