"""The operator, as a table of contents: which parts there are, who knows whom, what starts and what ends when.

kube/watches.py   kopf's events  ->  kube/cache.py, queueing/  ->  control/  ->  decide/ (decides), kube/client.py (writes)
kube/relist.py    lists          ->  kube/cache.py, queueing/
poll/poller.py    trainers       ->  queueing/
"""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any

from prometheus_client import REGISTRY
from pydantic import ValidationError

from dreambooth_operator import logs
from dreambooth_operator.control.controller import Controller
from dreambooth_operator.control.job_metrics import JobMetrics
from dreambooth_operator.control.writer import Writer
from dreambooth_operator.decide import reconcile
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.kube.lease import Leadership
from dreambooth_operator.kube.relist import Resync
from dreambooth_operator.kube.watches import handlers, watch
from dreambooth_operator.metrics.counters import BUSY_WORKERS, QUEUE_DEPTH, QUEUE_LONGEST_WAIT
from dreambooth_operator.metrics.server import HealthServer
from dreambooth_operator.poll.poller import Progress
from dreambooth_operator.queueing.work_queue import WorkQueue, limit_per_namespace
from dreambooth_operator.settings import PREFIX, Settings, settings_from

log = logging.getLogger(__name__)

STUCK_SECONDS = 120.0
"""A worker that has had one key for longer is taken for stuck; the longest request takes 30 s."""
STOP_SECONDS = 10.0
"""What workers get to end what they have begun when the process ends."""
INSTALLED_SECONDS = 5.0
"""Between two looks whether the CustomResourceDefinitions are installed."""


def main() -> None:
    """Runs the operator until it is told to end; the settings come from the environment."""
    try:
        settings = settings_from(os.environ)
    except ValidationError as error:
        for problem in error.errors():
            print(f"{PREFIX}{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    logs.configure(settings)
    sys.exit(asyncio.run(run(settings)))


async def run(settings: Settings) -> int:
    """Runs the operator; returns the exit status."""
    operator = Operator(settings, await Cluster.connect())
    try:
        await operator.serve()
        registry = handlers(operator.store, operator.queue, operator.cluster, operator.start, operator.stop)
        await watch(registry, settings, operator.ending)
    finally:
        await operator.stop()
    return 1 if operator.failed else 0


class Operator:
    """The parts of one replica."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings = settings
        self.cluster = cluster
        self.store = Store()
        self.queue = WorkQueue(limit_per_namespace(settings.workers))
        self.leadership = Leadership(cluster, settings)
        self.resync = Resync(cluster, self.store, self.queue, settings)
        self.progress = Progress(self.store, self.queue, settings)
        self.metrics = JobMetrics(self.store)
        writer = Writer(cluster, self.store, self.leadership, self.metrics, settings.identity)
        self.controller = Controller(cluster, self.store, self.queue, self.progress, writer, settings, policy=reconcile)
        self.server = HealthServer(settings.port, self.trouble, self.unready)
        self.ending = asyncio.Event()
        """Makes kopf, and with it the process, end."""
        self.failed = False
        """Whether a part ended that never should."""
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        BUSY_WORKERS.set_function(self.queue.busy)

    async def serve(self) -> None:
        """Answers probes, whatever else may have to be waited for."""
        port = await self.server.start()
        log.info("dreambooth-operator %s: probes and metrics on port %d", self.settings.identity, port)

    async def start(self) -> None:
        """Starts all parts, once the CustomResourceDefinitions are installed; kopf watches afterwards."""
        await self._wait_until_installed()
        self._begin(self.resync.run(), "resync")
        self._begin(self.leadership.run(), "election")
        self._begin(self._lead(), "leader")

    async def stop(self) -> None:
        """Ends what was begun, gives the Lease back and closes all connections."""
        if self._stopped:
            return
        self._stopped = True
        log.info("ends")
        # kopf waits some seconds for whoever still waits for this flag, though it was a signal that made it end.
        self.ending.set()
        self.queue.close()
        busy = [task for task in self._tasks if task.get_name() == "leader" and self.leadership.elected.is_set()]
        if busy:
            await asyncio.wait(busy, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.leadership.release()
        await self.server.stop()
        await self.cluster.close()

    def trouble(self) -> str | None:
        """What only a restart mends."""
        if self.queue.longest_run() > STUCK_SECONDS:
            return f"a worker has been busy with one DreamBoothJob for {self.queue.longest_run():.0f} s"
        if self._tasks and self.leadership.stalled():
            return "the election stands still"
        return None

    def unready(self) -> str | None:
        """Why this replica could not act yet."""
        return None if self.resync.synced.is_set() else "the first list is not complete"

    async def _lead(self) -> None:
        """What only the leader does: on a store as new as its Lease, as the one before may have written until the last moment."""
        await self.leadership.elected.wait()
        await self.resync.once()
        # Elsewhere the queue fills and nobody empties it.
        QUEUE_DEPTH.set_function(self.queue.__len__)
        QUEUE_LONGEST_WAIT.set_function(self.queue.longest_wait)
        # Jobs are counted by one replica, and never before all of them are known.
        REGISTRY.register(self.metrics)
        self.queue.add_all(self.store.keys())
        poller = asyncio.create_task(self.progress.run())
        try:
            await self.controller.run()
        finally:
            poller.cancel()
            REGISTRY.unregister(self.metrics)

    async def _wait_until_installed(self) -> None:
        told = False
        while True:
            try:
                if await self.cluster.crds_installed():
                    return
                if not told:
                    log.warning("waits until the CustomResourceDefinitions of dreambooth.io are installed")
                    told = True
            except ClusterError as error:
                log.warning("waits for the API server: %s", error)
            await asyncio.sleep(INSTALLED_SECONDS)

    def _begin(self, part: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(part, name=name)
        task.add_done_callback(self._end)
        self._tasks.append(task)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Ends the process when a part ends that never should."""
        if self._stopped or task.cancelled():
            return
        log.critical("%s ended", task.get_name(), exc_info=task.exception())
        self.failed = True
        self.ending.set()
