"""Runs a worker for each key of the queue: it observes the workload, calls `decide/reconcile.py`, and `writer.py` writes the
plan.

The order of writes allows a crash between any two of them: objects are created, the status is written, objects are deleted (the
status may contain facts that were read from them), and Events are recorded. The next reconciliation repeats missing writes.

After a worker has created a Job, the same workload is reconciled again, after all those that wait: so if many are created at
once, all Jobs are created before the API server is busy with their statuses, which are its most expensive writes.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from dreambooth_operator.control.event_lookups import (
    CLAIM_REASONS,
    MOUNT_REASONS,
    claims_lacking_volumes,
    jobs_lacking_pods,
    pods_lacking_volumes,
)
from dreambooth_operator.control.other_operators import OtherOperators
from dreambooth_operator.control.shared_reads import SharedReads
from dreambooth_operator.control.writer import Writer, WriteRefused
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.metrics.counters import RECONCILE_ERRORS, RECONCILE_SECONDS
from dreambooth_operator.objects.observed import Key, Object, Observed, Plan, Reference
from dreambooth_operator.poll.poller import Poller
from dreambooth_operator.queueing.work_queue import QueueClosed, WorkQueue
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)


class Reconciler(Protocol):
    """The interface of the module `decide/reconcile.py`."""

    def reconcile(self, observed: Observed, now: datetime, settings: Settings) -> Plan:
        """The plan for one workload."""
        ...

    def references(self, observed: Observed, now: datetime, settings: Settings) -> set[Reference]:
        """The objects that the plan depends on and that are not watched; `observed` has everything else."""
        ...


class Controller:
    """The workers of the queue."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        queue: WorkQueue,
        progress: Poller,
        writer: Writer,
        settings: Settings,
        reconciler: Reconciler,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._progress = progress
        self._writer = writer
        self._settings = settings
        self._reconciler = reconciler
        self._refusals: dict[Key, WriteRefused] = {}
        self._others = OtherOperators(settings)
        self._reads = SharedReads(cluster)

    async def run(self) -> None:
        """Runs until the queue is closed."""
        self._others.start()
        async with asyncio.TaskGroup() as workers:
            with suppress(QueueClosed):
                while True:
                    workers.create_task(self._work(await self._queue.get()))

    async def _work(self, key: Key) -> None:
        requeue_after, failure, least = None, None, 0.0
        try:
            with RECONCILE_SECONDS.time():
                requeue_after = await self._reconcile(key)
            failure = "refused" if key in self._refusals else None
        except ClusterError as error:
            failure = "conflict" if error.status == 409 else "cluster"
            least = error.retry_after or 0.0
            # After a change or deletion in the meantime, the watch delivers the new state.
            level = logging.DEBUG if error.status in (404, 409) else logging.WARNING
            log.log(level, "%s: reconciliation failed and will be retried: %s", key, error)
        except Exception:
            failure = "bug"
            log.exception("%s: reconciliation failed and will be retried", key)
        finally:
            # Also if the worker is cancelled: otherwise, the key would remain in progress.
            if failure is None:
                self._queue.done(key, requeue_after)
            else:
                RECONCILE_ERRORS.labels(failure).inc()
                self._queue.failed(key, requeue_after, least)

    async def _reconcile(self, key: Key) -> float | None:
        """Reconciles a workload; returns the seconds after which to reconcile it again."""
        owner = self._store.owner(key)
        if owner is None:
            self._refusals.pop(key, None)
            return None
        self._others.look(owner)
        now = datetime.now(UTC)
        observed = await self._observe(key, owner, now)
        plan = self._reconciler.reconcile(observed, now, self._settings)
        retry_after = None
        try:
            retry_after = await self._writer.write_objects(owner, plan)
            self._refusals.pop(key, None)
            if retry_after == 0:
                return 0.0
        except WriteRefused as refused:
            self._refusals[key] = refused
        after = self._with_refusal(key, observed)
        if after != observed:
            # The status must report a change of refusals at once.
            plan = self._reconciler.reconcile(after, now, self._settings)
        await self._writer.write_status(owner, plan.status)
        if plan.status != owner.get("status"):
            # The watch reports nothing new about it: the cache has this write already.
            self._queue.add_all(self._store.scenes_of(key))
        for reference in plan.delete:
            await self._writer.delete(reference, observed)
        for event in plan.events:
            await self._writer.record(owner, event, now)
        return min((seconds for seconds in (retry_after, plan.requeue_after) if seconds is not None), default=None)

    async def _observe(self, key: Key, owner: Object, now: datetime) -> Observed:
        observed = Observed(
            owner=owner,
            trained=self._store.trained(key),
            jobs=self._store.jobs(key),
            pods=self._store.pods(key),
            runtimes=self._store.runtimes(),
            snapshot=self._progress.snapshot(key),
            progress_since=self._progress.progress_since(key),
            progress_error=self._progress.progress_error(key),
        )
        observed = self._with_refusal(key, observed)
        references = sorted(self._reconciler.references(observed, now, self._settings))
        own = self._store.own_pods(key)
        slow_pods = pods_lacking_volumes(own, now)
        slow_claims = claims_lacking_volumes(own, now)
        slow_jobs = jobs_lacking_pods(owner["metadata"]["uid"], observed.jobs, own, now)
        message = self._cluster.latest_event_message
        referenced, mounts, claims, creations = await asyncio.gather(
            asyncio.gather(*(self._reads.get(kind, key.namespace, name) for kind, name in references)),
            asyncio.gather(*(self._mount_failure(key.namespace, name) for name in slow_pods)),
            asyncio.gather(*(self._unbound(key.namespace, name) for name in slow_claims)),
            asyncio.gather(
                *(message(key.namespace, "Job", name, "FailedCreate", since) for name, since in slow_jobs.items())
            ),
        )
        return replace(
            observed,
            referenced=dict(zip(references, referenced, strict=True)),
            mount_failures={name: text for name, text in zip(slow_pods, mounts, strict=True) if text},
            unbound_claims={name: text for name, text in zip(slow_claims, claims, strict=True) if text is not None},
            pod_creation_failures={name: text for name, text in zip(slow_jobs, creations, strict=True) if text},
        )

    def _with_refusal(self, key: Key, observed: Observed) -> Observed:
        """The observed state with the object that the API server refused last time, if it did."""
        refused = self._refusals.get(key)
        if refused is None:
            return replace(observed, refusals={}, invalid_fields=())
        return replace(observed, refusals={refused.reference: refused.message}, invalid_fields=refused.invalid_fields)

    async def _mount_failure(self, namespace: str, pod: str) -> str | None:
        """Why volumes of a pod can't be mounted. If a volume can't be attached, the kubelet only reports a timeout."""
        return await self._event_messages(namespace, "Pod", pod, MOUNT_REASONS) or None

    async def _unbound(self, namespace: str, claim: str) -> str | None:
        """Why a claim has no volume, which may be empty; None if it has one."""
        item = await self._cluster.get("PersistentVolumeClaim", namespace, claim)
        if item is None:
            return "The claim does not exist."
        if item.get("status", {}).get("phase") == "Bound":
            return None
        return await self._event_messages(namespace, "PersistentVolumeClaim", claim, CLAIM_REASONS)

    async def _event_messages(self, namespace: str, kind: str, name: str, reasons: Sequence[str]) -> str:
        """The latest Event about an object with each of the reasons."""
        message = self._cluster.latest_event_message
        found = await asyncio.gather(*(message(namespace, kind, name, reason) for reason in reasons))
        return " ".join(sentence for sentence in found if sentence)
