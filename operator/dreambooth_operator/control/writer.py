"""Carries the decisions of `decide/reconcile.py` out: every write about DreamBoothJobs, for `controller.py`.

Before each it is made sure that this replica still holds the Lease. What the API server answers goes to the store, so that the
next look sees what this one did even if the watch is late.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from dreambooth_operator.control.job_metrics import JobMetrics
from dreambooth_operator.kube.cache import WATCHED, Store
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.kube.events import event_object, repeated
from dreambooth_operator.kube.lease import Leadership
from dreambooth_operator.metrics.counters import STATUS_WRITES, WRITES
from dreambooth_operator.objects.observed import Event, Object, Observed, Plan, Reference

log = logging.getLogger(__name__)

EXISTED_SECONDS = 5.0
"""Until the next look when an object that should be created was there already: no watch may tell when it goes."""

_LEVELS = {"Normal": logging.INFO, "Warning": logging.WARNING}


class Refused(Exception):
    """The API server will not make an object, however often it is asked: quota, admission, permissions."""

    def __init__(self, reference: Reference, message: str) -> None:
        super().__init__(f"{reference.kind} {reference.name}: {message}")
        self.reference = reference
        """What it will not make."""
        self.message = message
        """What it said."""


class Writer:
    """Writes to the API server and keeps the store up to it."""

    def __init__(
        self, cluster: Cluster, store: Store, leadership: Leadership, metrics: JobMetrics, identity: str
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._leadership = leadership
        self._metrics = metrics
        self._identity = identity

    async def make(self, plan: Plan) -> float | None:
        """Applies and creates the objects of a plan, in their order. What should be created and exists is left as it is.

        Returns:
            Seconds until the next look is due by that; None: it isn't.

        Raises:
            Refused: The first object that was refused for good.
            ClusterError: An error that may pass.
        """
        due = None
        for item in plan.apply:
            await self._make(item, "apply", self._cluster.apply)
        for item in plan.create:
            try:
                await self._make(item, "create", self._cluster.create)
                due = 0.0 if due is None and item["kind"] in WATCHED else due
            except ClusterError as error:
                if error.status != 409:
                    raise
                due = EXISTED_SECONDS
        return due

    async def write_status(self, job: Object, status: Object) -> None:
        """Writes a status if it differs from the one of `job`."""
        if status == job.get("status", {}):
            return
        self._begin("DreamBoothJob", "status")
        STATUS_WRITES.inc()
        written = await self._cluster.write_status(job, status)
        self._store.put(written)
        self._metrics.note(job, status)
        if written.get("status", {}) != status:
            log.error("the API server changed the status that it was given for %s", job["metadata"]["name"])

    async def delete(self, reference: Reference, observed: Observed) -> None:
        """Deletes an object with what it owns, unless that has begun already."""
        known = _known(reference, observed)
        if known and "deletionTimestamp" in known["metadata"]:
            return
        self._begin(reference.kind, "delete")
        uid = known["metadata"]["uid"] if known else None
        await self._cluster.delete(reference, observed.dreamboothjob["metadata"]["namespace"], uid)

    async def emit(self, job: Object, event: Event, now: datetime) -> None:
        """Logs and emits an Event; that it can't be emitted is only logged, as nothing depends on it."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        log.log(_LEVELS[event.type], "%s/%s: %s: %s", namespace, name, event.reason, event.message)
        item = event_object(job, event, now, self._identity)
        try:
            self._begin("Event", "emit")
            known = await self._cluster.get("Event", namespace, item["metadata"]["name"])
            await (self._cluster.replace(repeated(known, now)) if known else self._cluster.create(item))
        except ClusterError as error:
            log.warning("%s/%s: Event %s was not emitted: %s", namespace, name, event.reason, error)

    async def _make(self, item: Object, verb: str, write: Callable[[Object], Awaitable[Object]]) -> Object:
        self._begin(item["kind"], verb)
        try:
            made = await write(item)
        except ClusterError as error:
            if not error.permanent:
                raise
            raise Refused(Reference(item["kind"], item["metadata"]["name"]), error.message) from error
        if made["kind"] in WATCHED:
            self._store.put(made)
        return made

    def _begin(self, kind: str, verb: str) -> None:
        if not self._leadership.held():
            raise ClusterError(0, "the Lease has run out, nothing is written")
        WRITES.labels(kind, verb).inc()


def _known(reference: Reference, observed: Observed) -> Object | None:
    """The object that a reference meant when it was decided on."""
    known = [observed.dreamboothjob, *observed.jobs, *(item for item in observed.referenced.values() if item)]
    meant = (reference.kind, reference.name)
    return next((item for item in known if (item["kind"], item["metadata"]["name"]) == meant), None)
