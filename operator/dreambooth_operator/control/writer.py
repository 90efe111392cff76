"""Carries out the plans of `decide/reconcile.py`: all writes about workloads, for `controller.py`.

Before each write, it checks that this replica holds the Lease. Responses of the API server are stored in the cache, so that the
next reconciliation sees them even if the watch is delayed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from dreambooth_operator.control.valid_objects import ValidObjects
from dreambooth_operator.control.workload_metrics import WorkloadMetrics
from dreambooth_operator.decide.status.refusals import is_namespace_deleted
from dreambooth_operator.kube.cache import WATCHED, Store
from dreambooth_operator.kube.client import TIMEOUT_SECONDS, Cluster, ClusterError
from dreambooth_operator.kube.events import event_object, repeated
from dreambooth_operator.kube.lease import Leadership
from dreambooth_operator.metrics.counters import STATUS_WRITES, WRITES
from dreambooth_operator.objects.names import status_manager
from dreambooth_operator.objects.observed import Event, Object, Observed, Plan, Reference
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

MARGIN_SECONDS = 0.5
"""A write must have ended so long before the Lease expires."""
EXISTED_SECONDS = 5.0
"""Seconds until the next reconciliation if an object to create exists: its deletion may not be watched."""

_LEVELS = {"Normal": logging.INFO, "Warning": logging.WARNING}


class WriteRefused(Exception):
    """The API server refuses an object, and a retry would fail too: quota, admission, permissions."""

    def __init__(self, item: Object, error: ClusterError) -> None:
        self.reference = Reference(item["kind"], item["metadata"]["name"])
        """The refused object."""
        super().__init__(f"{self.reference.kind} {self.reference.name}: {error.message}")
        self.message = error.message
        """Message of the API server."""
        self.invalid_fields = error.invalid_fields
        """Fields of the object that the API server calls invalid."""


class Writer:
    """Writes to the API server and updates the cache."""

    def __init__(
        self, cluster: Cluster, store: Store, leadership: Leadership, metrics: WorkloadMetrics, settings: Settings
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._leadership = leadership
        self._metrics = metrics
        self._valid = ValidObjects()
        self._identity = settings.identity
        self._manager = status_manager(settings.namespace, settings.lease_name)

    async def write_objects(self, owner: Object, plan: Plan) -> float | None:
        """Checks, applies and creates the objects of a plan, in this order. An object to create that exists is left unchanged.

        Returns:
            Seconds after which to reconcile again; None: no need; 0: an object was created that the next reconciliation sees.

        Raises:
            WriteRefused: The API server refused an object.
            ClusterError: A transient error.
        """
        await _together(self._check(item, owner) for item in plan.check)
        await _together(self._write(item, "apply", self._cluster.apply) for item in plan.apply)
        due = None
        for item in plan.create:
            try:
                await self._write(item, "create", self._cluster.create)
                due = 0.0 if due is None and item["kind"] in WATCHED else due
            except ClusterError as error:
                if error.status != 409:
                    raise
                due = EXISTED_SECONDS
        return due

    async def write_status(self, owner: Object, status: Object) -> None:
        """Writes a status if it differs from the current one."""
        if status == owner.get("status", {}):
            return
        timeout = self._begin(owner["kind"], "status")
        STATUS_WRITES.inc()
        written = await self._cluster.write_status(owner, status, self._manager, timeout)
        self._store.put(written)
        self._metrics.observe(owner, status)
        if written.get("status", {}) != status:
            log.error("the API server stored a different status for %s", owner["metadata"]["name"])

    async def write_runtime_status(self, runtime: Object, status: Object) -> None:
        """Writes the status of a DreamBoothRuntime if it differs from the current one."""
        if status != runtime.get("status", {}):
            timeout = self._begin("DreamBoothRuntime", "status")
            self._store.put(await self._cluster.write_status(runtime, status, self._manager, timeout))

    async def delete(self, reference: Reference, observed: Observed) -> None:
        """Deletes an object and its dependents, unless it is already being deleted."""
        known = _known(reference, observed)
        if known and "deletionTimestamp" in known["metadata"]:
            return
        timeout = self._begin(reference.kind, "delete")
        uid = known["metadata"]["uid"] if known else None
        await self._cluster.delete(reference, observed.owner["metadata"]["namespace"], uid, timeout)

    async def record(self, owner: Object, event: Event, now: datetime) -> None:
        """Logs and records an Event. An error is only logged, because nothing depends on the Event."""
        namespace, name = owner["metadata"]["namespace"], owner["metadata"]["name"]
        log.log(_LEVELS[event.type], "%s/%s: %s: %s", namespace, name, event.reason, event.message)
        item = event_object(owner, event, now, self._identity)
        try:
            await self._emit(item, now)
        except ClusterError as error:
            level = logging.DEBUG if is_namespace_deleted(error.message) else logging.WARNING
            log.log(level, "%s/%s: Event %s was not recorded: %s", namespace, name, event.reason, error)

    async def _emit(self, item: Object, now: datetime) -> None:
        """Creates an Event, or increases the count of the one that exists."""
        try:
            await self._cluster.create(item, self._begin("Event", "emit"))
        except ClusterError as error:
            if error.status != 409:
                raise
            known = await self._cluster.get("Event", item["metadata"]["namespace"], item["metadata"]["name"])
            if known:
                await self._cluster.replace(repeated(known, now), self._begin("Event", "emit"))

    async def _check(self, item: Object, owner: Object) -> None:
        """Lets the API server validate an object. Other errors, such as an exceeded quota, are those of the write."""
        if self._valid.has(item, owner):
            return
        try:
            await self._cluster.check(item)
            self._valid.add(item, owner)
        except ClusterError as error:
            if error.invalid_fields:
                raise WriteRefused(item, error) from error
            if not error.permanent and error.status != 409:
                raise

    async def _write(self, item: Object, verb: str, write: Callable[[Object, float], Awaitable[Object]]) -> Object:
        timeout = self._begin(item["kind"], verb)
        try:
            written = await write(item, timeout)
        except ClusterError as error:
            if not error.permanent:
                raise
            raise WriteRefused(item, error) from error
        if written["kind"] in WATCHED:
            self._store.put(written)
        return written

    def _begin(self, kind: str, verb: str) -> float:
        """Counts a write; returns its timeout in seconds: it must end before another replica can lead."""
        timeout = min(TIMEOUT_SECONDS, self._leadership.remaining() - MARGIN_SECONDS)
        if timeout <= 0:
            raise ClusterError(0, "the Lease has expired, nothing was written")
        WRITES.labels(kind, verb).inc()
        return timeout


async def _together(writes: Iterable[Awaitable[object]]) -> None:
    """Waits for all writes, also if one fails, so that none of them runs any more when the worker continues.

    Raises:
        WriteRefused, ClusterError: The error of the first one that failed.
    """
    for outcome in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _known(reference: Reference, observed: Observed) -> Object | None:
    """The observed object of a reference."""
    known = [observed.owner, *observed.jobs, *(item for item in observed.referenced.values() if item)]
    return next((item for item in known if (item["kind"], item["metadata"]["name"]) == tuple(reference)), None)
