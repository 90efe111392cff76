"""Lists all watched kinds: at the start, when this replica becomes the leader, and at intervals.

A watch does not report objects that were deleted while it was interrupted: kopf lists again and sees only what exists. A list
finds the changes that the watches missed and queues the keys of their DreamBoothJobs.
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
"""Seconds before a failed list is retried."""


class Resync:
    """Keeps the cache complete."""

    def __init__(self, cluster: Cluster, store: Store, queue: WorkQueue, settings: Settings) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._settings = settings
        self.synced = asyncio.Event()
        """Set when the cache is complete for the first time."""

    async def run(self) -> None:
        """Lists all watched kinds every `resync_seconds`."""
        while True:
            await self.once()
            await asyncio.sleep(self._settings.resync_seconds)

    async def once(self) -> None:
        """Lists all watched kinds; retries until it succeeds."""
        while True:
            try:
                for kind in WATCHED:
                    await self._list(kind)
            except ClusterError as error:
                RESYNCS.labels("error").inc()
                log.error("can't list the watched kinds: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                RESYNCS.labels("ok").inc()
                STORED_OBJECTS.set(len(self._store))
                self.synced.set()
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
        # Objects may change between the lists of two namespaces, so the lowest version counts.
        changed = self._store.replace(kind, items, min(versions))
        if self.synced.is_set():
            MISSED_CHANGES.inc(len(changed))
        self._queue.add_all(changed)
