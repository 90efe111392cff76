"""Lists everything that is watched: at the start, when this replica begins to lead, and regularly.

A watch tells no deletion that happened while it was down (kopf lists anew and sees only what is still there). What a list shows
and no watch told goes to the queue, and only that.
"""

import asyncio
import logging
from collections.abc import Sequence

from dreambooth_api.job import KIND
from dreambooth_api.runtime import RUNTIME_KIND
from dreambooth_operator.kube.cache import WATCHED, Store
from dreambooth_operator.kube.client import CLUSTER_SCOPED, Cluster, ClusterError
from dreambooth_operator.metrics.counters import MISSED_CHANGES, RESYNCS, STORED_OBJECTS
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Seconds after which a list that failed is tried again."""


class Resync:
    """Keeps the store complete."""

    def __init__(self, cluster: Cluster, store: Store, queue: WorkQueue, settings: Settings) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._settings = settings
        self.filled = asyncio.Event()
        """Set when the store was complete for the first time."""

    async def run(self) -> None:
        """Lists everything every `resync_seconds`, for ever."""
        while True:
            await self.once()
            await asyncio.sleep(self._settings.resync_seconds)

    async def once(self) -> None:
        """Lists everything, however often it must be tried."""
        while True:
            try:
                for kind in WATCHED:
                    await self._list(kind)
            except ClusterError as error:
                RESYNCS.labels("error").inc()
                log.error("can't list what is watched: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                RESYNCS.labels("ok").inc()
                STORED_OBJECTS.set(len(self._store))
                self.filled.set()
                return

    async def _list(self, kind: str) -> None:
        labels = "" if kind in (KIND, RUNTIME_KIND) else LABEL_JOB
        items: list[Object] = []
        versions = []
        everywhere = kind in CLUSTER_SCOPED or not self._settings.namespaces
        namespaces: Sequence[str | None] = [None] if everywhere else self._settings.namespaces
        for namespace in namespaces:
            found, version = await self._cluster.list(kind, namespace, labels)
            items += found
            versions.append(version)
        # A pause between the lists of two namespaces must not make anything old: the first list's version counts.
        changed = self._store.replace(kind, items, min(versions))
        if self.filled.is_set():
            MISSED_CHANGES.inc(len(changed))
        self._queue.add_all(changed)
