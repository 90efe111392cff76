"""The workers: take a key, observe, let `decide/reconcile.py` decide, and let `writer.py` carry the decision out.

Writes come in an order that a crash between any two of them can't harm: first objects are made, then the status is written,
then objects are deleted (the status may hold what was read off them), and last come the Events. The next look, by whichever
replica, finds what is missing.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from dreambooth_operator.control.complaints import awaiting_pods, awaiting_volumes
from dreambooth_operator.control.writer import Refused, Writer
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.metrics.counters import RECONCILE_ERRORS, RECONCILE_SECONDS
from dreambooth_operator.objects.observed import Key, Object, Observed, Plan, Reference
from dreambooth_operator.poll.poller import Progress
from dreambooth_operator.queueing.work_queue import QueueClosed, WorkQueue
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)


class Policy(Protocol):
    """The decisions: the module `decide/reconcile.py`."""

    def reconcile(self, observed: Observed, now: datetime, settings: Settings) -> Plan:
        """What shall be done for one DreamBoothJob."""
        ...

    def references(self, observed: Observed, now: datetime, settings: Settings) -> set[Reference]:
        """What the decision depends on beside the objects that are watched; `observed` lacks only that."""
        ...


class Controller:
    """Workers over a queue."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        queue: WorkQueue,
        progress: Progress,
        writer: Writer,
        settings: Settings,
        policy: Policy,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._progress = progress
        self._writer = writer
        self._settings = settings
        self._policy = policy
        self._refusals: dict[Key, Mapping[Reference, str]] = {}

    async def run(self) -> None:
        """Works until the queue is closed."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._settings.workers):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            requeue_after, failure = None, None
            try:
                with RECONCILE_SECONDS.time():
                    requeue_after = await self._look(key)
                failure = "refused" if self._refusals.get(key) else None
            except ClusterError as error:
                failure = "conflict" if error.status == 409 else "cluster"
                # A job that somebody else changed or deleted meanwhile: the watch will tell.
                level = logging.DEBUG if error.status in (404, 409) else logging.WARNING
                log.log(level, "%s/%s: must be repeated: %s", *key, error)
            except Exception:
                failure = "bug"
                log.exception("%s/%s: must be repeated", *key)
            finally:
                # Also when the worker is cancelled: the queue must not believe that somebody has the key.
                if failure is None:
                    self._queue.done(key, requeue_after)
                else:
                    RECONCILE_ERRORS.labels(failure).inc()
                    self._queue.failed(key, requeue_after)

    async def _look(self, key: Key) -> float | None:
        """Looks at a DreamBoothJob once; returns seconds until it is due again."""
        job = self._store.dreamboothjob(key)
        if job is None:
            self._refusals.pop(key, None)
            return None
        now = datetime.now(UTC)
        observed = await self._observe(key, job, now)
        plan = self._policy.reconcile(observed, now, self._settings)
        soon, refusals = None, {}
        try:
            soon = await self._writer.make(plan)
        except Refused as refused:
            refusals = {refused.reference: refused.message}
        if refusals != observed.refusals:
            # What was refused, or no longer is, belongs into the status at once.
            self._refusals[key] = refusals
            plan = self._policy.reconcile(replace(observed, refusals=refusals), now, self._settings)
        await self._writer.write_status(job, plan.status)
        for reference in plan.delete:
            await self._writer.delete(reference, observed)
        for event in plan.events:
            await self._writer.emit(job, event, now)
        return min((due for due in (soon, plan.requeue_after) if due is not None), default=None)

    async def _observe(self, key: Key, job: Object, now: datetime) -> Observed:
        observed = Observed(
            dreamboothjob=job,
            jobs=self._store.jobs(key),
            pods=self._store.pods(key),
            runtimes=self._store.runtimes(),
            refusals=self._refusals.get(key, {}),
            snapshot=self._progress.snapshot(key),
            progress_error=self._progress.progress_error(key),
        )
        references = sorted(self._policy.references(observed, now, self._settings))
        own = self._store.own_pods(key)
        slow = awaiting_volumes(own, now)
        short = awaiting_pods(job["metadata"]["uid"], observed.jobs, own, now)
        say = self._cluster.latest_event_message
        present, unmounted, unmade = await asyncio.gather(
            asyncio.gather(*(self._cluster.get(kind, key.namespace, name) for kind, name in references)),
            asyncio.gather(*(say(key.namespace, "Pod", pod, "FailedMount") for pod in slow)),
            asyncio.gather(*(say(key.namespace, "Job", name, "FailedCreate", since) for name, since in short.items())),
        )
        return replace(
            observed,
            referenced=dict(zip(references, present, strict=True)),
            mount_failures={pod: message for pod, message in zip(slow, unmounted, strict=True) if message},
            pod_creation_failures={name: message for name, message in zip(short, unmade, strict=True) if message},
        )
