"""Assembles the operator, and starts and stops its parts.

kube/watches.py   events of kopf  ->  kube/cache.py, queueing/  ->  control/  ->  decide/ (decisions), kube/client.py (writes)
kube/relist.py    lists           ->  kube/cache.py, queueing/
poll/poller.py    trainers        ->  queueing/
"""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from prometheus_client import REGISTRY
from pydantic import ValidationError

from dreambooth_operator import logs
from dreambooth_operator.control.controller import Controller
from dreambooth_operator.control.runtime_statuses import RuntimeStatuses
from dreambooth_operator.control.workload_metrics import WorkloadMetrics
from dreambooth_operator.control.writer import Writer
from dreambooth_operator.decide import reconcile
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import TIMEOUT_SECONDS, Cluster, ClusterError
from dreambooth_operator.kube.lease import Leadership
from dreambooth_operator.kube.relist import Resync
from dreambooth_operator.kube.watches import handlers, watch
from dreambooth_operator.metrics.counters import (
    API_SECONDS,
    BUSY_WORKERS,
    LARGEST_BUSY_WORKERS,
    QUEUE_DEPTH,
    QUEUE_LONGEST_WAIT,
)
from dreambooth_operator.metrics.server import HealthServer
from dreambooth_operator.poll.poller import Poller
from dreambooth_operator.queueing.adaptive_limit import AdaptiveLimit
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import PREFIX, Settings, settings_from

log = logging.getLogger(__name__)

STUCK_REQUEST_SECONDS = 2 * TIMEOUT_SECONDS
"""A request that runs for longer is considered stuck."""
STUCK_SECONDS = 20 * TIMEOUT_SECONDS
"""A worker that processes one key for longer is considered stuck; it makes about fifteen requests, one after the other."""
STOP_SECONDS = 10.0
"""Time for workers to finish their current keys when the process exits."""
KINDS_SECONDS = 5.0
"""Time for the API server to say whether a watched kind was deleted, when the process exits."""
INSTALLED_SECONDS = 5.0
"""Interval between two checks whether the CustomResourceDefinitions are installed."""


def main() -> None:
    """Runs the operator with settings from the environment, until it receives a signal."""
    try:
        settings = settings_from(os.environ)
    except ValidationError as error:
        for problem in error.errors():
            print(f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    logs.configure(settings)
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Runs the operator; exits with 1 if a part has failed."""
    operator = Operator(settings, await Cluster.connect())
    try:
        await operator.serve()
        registry = handlers(
            operator.store,
            operator.queue,
            operator.cluster,
            operator.start,
            operator.stop,
            operator.resync.namespace_changed if settings.namespace_selector else None,
        )
        stopped = asyncio.create_task(operator.stopped.wait())
        watching = asyncio.create_task(watch(registry, settings, operator.ending))
        await asyncio.wait((watching, stopped), return_when=asyncio.FIRST_COMPLETED)
        if operator.failed:
            # After one of its watches has failed, kopf may wait for another one without end.
            logging.shutdown()
            os._exit(1)
        await watching
    finally:
        await operator.stop()


class PartEnded(Exception):
    """A part of the operator returned, although it should run until the process exits."""


class Operator:
    """The parts of one replica."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings = settings
        self.cluster = cluster
        self.store = Store()
        limit = AdaptiveLimit(settings.workers)
        cluster.on_answer = limit.answered
        cluster.on_request = lambda method, code, seconds: API_SECONDS.labels(method, code).observe(seconds)
        self.queue = WorkQueue(limit)
        self.leadership = Leadership(cluster, settings)
        self.resync = Resync(cluster, self.store, self.queue, settings)
        self.progress = Poller(self.store, self.queue, settings)
        self.metrics = WorkloadMetrics(self.store)
        writer = Writer(cluster, self.store, self.leadership, self.metrics, settings)
        self.controller = Controller(
            cluster, self.store, self.queue, self.progress, writer, settings, reconciler=reconcile
        )
        self.runtimes = RuntimeStatuses(self.store, writer)
        self.server = HealthServer(settings.port, self.liveness_problem, self.readiness_problem)
        self.ending = asyncio.Event()
        """Stops kopf, and with it the process."""
        self.failed = False
        """Whether a part ended unexpectedly."""
        self.stopped = asyncio.Event()
        """Set when all parts have stopped."""
        self._parts: asyncio.Task[None] | None = None
        self._stopped = False
        BUSY_WORKERS.set_function(self.queue.busy)
        LARGEST_BUSY_WORKERS.set_function(lambda: limit.value)

    async def serve(self) -> None:
        """Starts the server for probes and metrics, before all other parts."""
        port = await self.server.start()
        log.info("dreambooth-operator %s: probes and metrics on port %d", self.settings.identity, port)

    async def start(self) -> None:
        """Waits for the CustomResourceDefinitions, then starts all parts except kopf's watches, which start afterwards."""
        await self._wait_until_installed()
        self._parts = asyncio.create_task(self._run())
        self._parts.add_done_callback(self._end)

    async def stop(self) -> None:
        """Stops all parts, releases the Lease and closes all connections."""
        if self._stopped:
            return
        self._stopped = True
        log.info("stopping")
        if not self.ending.is_set() and await self._lacks_kinds():
            log.critical("a watched kind does not exist any more; the operator waits for it after its restart")
            self.failed = True
        # After a signal, kopf waits some seconds for tasks that wait for this flag.
        self.ending.set()
        self.queue.close()
        if self.leadership.held():
            with suppress(TimeoutError):
                await asyncio.wait_for(self.queue.idle(), STOP_SECONDS)
        if self._parts:
            self._parts.cancel()
            await asyncio.gather(self._parts, return_exceptions=True)
        await self.leadership.release()
        await self.server.stop()
        await self.cluster.close()
        self.stopped.set()

    def liveness_problem(self) -> str | None:
        """A problem that only a restart can resolve."""
        if self.cluster.longest_request() > STUCK_REQUEST_SECONDS:
            return f"a request to the API server has been running for {self.cluster.longest_request():.0f} s"
        if self.queue.longest_run() > STUCK_SECONDS:
            return f"a worker has been processing one workload for {self.queue.longest_run():.0f} s"
        if self.leadership.stalled():
            return "the leader election has stalled"
        return None

    def readiness_problem(self) -> str | None:
        """Why this replica is not ready yet."""
        return None if self.resync.synced.is_set() else "the cache has not synced"

    async def _run(self) -> None:
        """Runs all parts. If one ends, the others are cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._part("resync", self.resync.run()))
            group.create_task(self._part("election", self._elect()))
            group.create_task(self._lead())

    async def _elect(self) -> None:
        """Takes part in the election once the cache has synced: a replica that can't list must not lead."""
        await self.resync.synced.wait()
        await self.leadership.run()

    async def _lead(self) -> None:
        """Runs the parts that only run in the leader. The cache is synced first, as the previous leader may just have written."""
        await self.leadership.elected.wait()
        self.resync.leads = True
        await self.resync.once()
        # In other replicas, the queue is filled but has no workers.
        QUEUE_DEPTH.set_function(self.queue.__len__)
        QUEUE_LONGEST_WAIT.set_function(self.queue.longest_wait)
        # Only one replica counts workloads, and only after the cache has synced.
        REGISTRY.register(self.metrics)
        self.queue.add_all(self.store.keys())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._part("poller", self.progress.run()))
                group.create_task(self._part("workers", self.controller.run()))
                group.create_task(self._part("runtimes", self.runtimes.run()))
        finally:
            REGISTRY.unregister(self.metrics)

    async def _wait_until_installed(self) -> None:
        logged = False
        while True:
            try:
                if await self.cluster.crds_installed():
                    return
                if not logged:
                    log.warning("waiting for the CustomResourceDefinitions of dreambooth.io")
                    logged = True
            except ClusterError as error:
                log.warning("waiting for the API server: %s", error)
            await asyncio.sleep(INSTALLED_SECONDS)

    async def _lacks_kinds(self) -> bool:
        """Whether a CustomResourceDefinition was deleted, as far as the API server says so in time."""
        try:
            return not await asyncio.wait_for(self.cluster.crds_installed(), KINDS_SECONDS)
        except (ClusterError, TimeoutError):
            return False

    async def _part(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        """Runs a part. If it ends before the process stops, all other parts are cancelled.

        Raises:
            PartEnded: The part returned.
        """
        try:
            await part
            if not self._stopped:
                raise PartEnded(name)
        except Exception as error:
            log.critical("%s ended unexpectedly", name, exc_info=error)
            raise

    def _end(self, task: asyncio.Task[None]) -> None:
        """Stops the process when the parts have ended."""
        if not self._stopped:
            self.failed = True
            self.ending.set()
        if not task.cancelled():
            task.exception()  # it is logged by the part that raised it
