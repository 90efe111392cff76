"""Lists all watched kinds: at the start, when this replica becomes the leader, and at intervals.

A watch does not report objects that were deleted while it was interrupted: kopf lists again and sees only what exists. A list
finds the changes that the watches missed and queues the keys of their workloads.

If the operator watches some namespaces only, each is listed by itself. One that can't be listed keeps its objects in the cache
and does not affect the others. If the namespaces are chosen by a label selector, everything is listed, but only the objects in
namespaces that match are stored.
"""

import asyncio
import logging
import time
from contextlib import suppress

from dreambooth_api.runtime import RUNTIME_KIND
from dreambooth_operator.kube.cache import WATCHED, Store
from dreambooth_operator.kube.client import CLUSTER_SCOPED, Cluster, ClusterError
from dreambooth_operator.kube.trimming import trimmed
from dreambooth_operator.metrics.counters import MISSED_CHANGES, RESYNCS, STORED_OBJECTS, UNLISTED_NAMESPACES
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABELS
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""Seconds before a failed list is retried."""
PARTIAL_SECONDS = 30.0
"""Longest interval between two lists while some of the namespaces can't be listed."""
FAILING_SECONDS = 60.0
"""Time without a successful list after which a leader ends, so that another replica can try."""


class ListsFail(Exception):
    """The watched kinds could not be listed for `FAILING_SECONDS`."""


class Resync:
    """Keeps the cache complete."""

    def __init__(self, cluster: Cluster, store: Store, queue: WorkQueue, settings: Settings) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._settings = settings
        self._listing = asyncio.Lock()
        self._unlisted: dict[str, str] = {}
        self._selected: frozenset[str] | None = None
        self._outdated = asyncio.Event()
        self.synced = asyncio.Event()
        """Set when the cache is complete for the first time."""
        self.leads = False
        """Whether this replica leads. A replica that does not lead tries to list without end."""

    async def run(self) -> None:
        """Lists all watched kinds every `resync_seconds`.

        Raises:
            ListsFail: This replica leads, and the lists fail for too long.
        """
        while True:
            await self.once()
            interval = self._settings.resync_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(min(interval, PARTIAL_SECONDS) if self._unlisted else interval):
                    await self._outdated.wait()

    def namespace_changed(self, name: str, matches: bool) -> None:
        """Makes `run` list at once if a namespace begins or ceases to match the selector."""
        if matches != self._store.holds(name):
            self._outdated.set()

    async def once(self) -> None:
        """Lists all watched kinds; retries until it succeeds for at least one namespace.

        Raises:
            ListsFail: This replica leads, and the lists fail for too long.
        """
        begun = time.monotonic()
        # Two lists at the same time could finish in another order than they began.
        async with self._listing:
            while True:
                try:
                    await self._list_all()
                    return
                except ClusterError as error:
                    RESYNCS.labels("error").inc()
                    log.error("can't list the watched kinds: %s", error)
                    if self.leads and time.monotonic() - begun > FAILING_SECONDS:
                        raise ListsFail(str(error)) from error
                    await asyncio.sleep(max(RETRY_SECONDS, error.retry_after or 0.0))

    async def _list_all(self) -> None:
        self._outdated.clear()
        selected, self._selected = self._selected, await self._select()
        changed = self._selected != selected
        everywhere = [kind for kind in WATCHED if kind in CLUSTER_SCOPED or not self._settings.namespaces]
        for kind in everywhere:
            await self._list(kind, "", changed)
        failures: dict[str, ClusterError] = {}
        for namespace in self._settings.namespaces:
            try:
                for kind in WATCHED:
                    if kind not in everywhere:
                        await self._list(kind, namespace, changed)
            except ClusterError as error:
                if error.status == 0:
                    raise  # the API server does not respond at all
                failures[namespace] = error
        self._report(failures)
        if failures and len(failures) == len(set(self._settings.namespaces)):
            raise next(iter(failures.values()))
        RESYNCS.labels("partial" if failures else "ok").inc()
        STORED_OBJECTS.set(len(self._store))
        self.synced.set()

    async def _select(self) -> frozenset[str] | None:
        """The namespaces that match the selector, to which the cache is restricted; None without a selector."""
        selector = self._settings.namespace_selector
        if not selector:
            return None
        found, _ = await self._cluster.list("Namespace", None, selector, lambda item: item["metadata"])
        names = frozenset(metadata["name"] for metadata in found)
        if self._selected is None:
            log.info("%d namespaces match the selector %s", len(names), selector)
        else:
            for name in sorted(names ^ self._selected):
                log.info("namespace %s %s to match the selector", name, "begins" if name in names else "ceases")
        self._store.restrict(names)
        return names

    def _report(self, failures: dict[str, ClusterError]) -> None:
        """Logs each namespace once that can't be listed, and once when it can be listed again."""
        UNLISTED_NAMESPACES.set(len(failures))
        for namespace, error in failures.items():
            if self._unlisted.get(namespace) != error.message:
                log.error("can't list namespace %s, which does not affect other namespaces: %s", namespace, error)
        for namespace in self._unlisted.keys() - failures.keys():
            log.info("namespace %s can be listed again", namespace)
        self._unlisted = {namespace: error.message for namespace, error in failures.items()}

    async def _list(self, kind: str, namespace: str, selection_changed: bool) -> None:
        labels = "" if kind in (*LABELS, RUNTIME_KIND) else LABEL_ATTEMPT
        items, version = await self._cluster.list(kind, namespace or None, labels, trimmed)
        changed = self._store.replace(kind, items, version, namespace)
        if self.synced.is_set() and not selection_changed:
            MISSED_CHANGES.inc(len(changed))
        self._queue.add_all(changed)
