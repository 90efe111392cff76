"""Polls running trainers for `/progress`. `main.py` starts it in the leader; `control/controller.py` reads the results.

Trainers are not trusted: addresses are checked (`addresses.py`), the time and size of responses are limited (`http.py`), and
their content is validated (`snapshot_validation.py`). Running trainers are found by the changes of the cache, so finished
workloads cost nothing; `schedule.py` decides when each of them is polled. The controller sees a snapshot when it is
*published*: at once if the phase changed, otherwise at a limited rate (`update_limiter.py`). Repeated rejections are reported in
the status of the workload.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_api.progress import PHASES, SCENE_PHASES, Snapshot
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.metrics.counters import POLLS, RUNNING_TRAINERS
from dreambooth_operator.objects.observed import Key, Object
from dreambooth_operator.objects.reading import index_of
from dreambooth_operator.poll.addresses import Network, refusal
from dreambooth_operator.poll.http import get
from dreambooth_operator.poll.schedule import Schedule
from dreambooth_operator.poll.snapshot_validation import InvalidProgress, significant, snapshot_from
from dreambooth_operator.poll.update_limiter import UpdateLimiter
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
"""Interval between two checks of the schedule."""
PHASES_OF = {KIND: PHASES, SCENE_KIND: SCENE_PHASES}
"""The phases of the trainer, by the kind of the workload."""
REJECTION_THRESHOLD = 5
"""Number of rejections in a row after which the status reports them."""


class Trainer(NamedTuple):
    """A pod whose main process can be polled."""

    uid: str
    key: Key
    address: str
    refusal: str | None
    """Why it must not be polled."""


class Poller:
    """The task that polls trainers, and their latest progress."""

    def __init__(self, store: Store, queue: WorkQueue, settings: Settings) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._schedule = Schedule(settings)
        self._limiter = UpdateLimiter(settings.status_writes_per_second)
        self._trainers: dict[str, Trainer] = {}
        self._uids: dict[Key, set[str]] = {}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._waiting: dict[Key, tuple[str, Snapshot | None]] = {}
        self._published: dict[str, Snapshot] = {}
        self._changed: dict[str, tuple[datetime, Snapshot | None]] = {}
        self._rejections: dict[str, int] = {}
        self._errors: dict[str, str] = {}

    def snapshot(self, key: Key) -> Snapshot | None:
        """The latest published progress of the newest main pod of a workload."""
        uid = self._newest(key)
        return self._published.get(uid) if uid else None

    def progress_since(self, key: Key) -> datetime | None:
        """Since when no other progress of that pod is known; None if it is not polled."""
        uid = self._newest(key)
        return self._changed[uid][0] if uid in self._changed else None

    def progress_error(self, key: Key) -> str | None:
        """Why the responses of that pod are rejected, after repeated rejections."""
        uid = self._newest(key)
        return self._errors.get(uid) if uid else None

    async def run(self) -> None:
        """Polls until it is cancelled."""
        last = time.monotonic()
        changes = self._store.subscribe()
        try:
            while True:
                now = time.monotonic()
                for key in list(changes):
                    self._update(key, now)
                changes.clear()
                self._poll_due(now)
                for key in self._limiter.due(now - last):
                    self._publish(key, *self._waiting.pop(key))
                last = now
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._store.unsubscribe(changes)
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _poll_due(self, now: float) -> None:
        """Starts the polls that are due."""
        RUNNING_TRAINERS.set(len(self._schedule))
        for uid in self._schedule.due(now):
            task = asyncio.create_task(self._poll_safely(self._trainers[uid]))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _poll_safely(self, trainer: Trainer) -> None:
        """Polls a trainer. A defect that one of its responses reveals must not end the poller."""
        try:
            await self._poll(trainer)
        except Exception:
            POLLS.labels("bug").inc()
            log.exception("%s: the poll failed", trainer.key)
        finally:
            self._schedule.done(trainer.key.namespace)

    async def _poll(self, trainer: Trainer) -> None:
        if trainer.refusal:
            POLLS.labels("refused").inc()
            self._reject(trainer, trainer.refusal)
            return
        try:
            async with asyncio.timeout(self._settings.poll_timeout_seconds):
                body = await get(trainer.address, self._settings.trainer_port, "/progress")
            phases = PHASES_OF[trainer.key.kind]
            snapshot = snapshot_from(body, phases, self._published.get(trainer.uid))
        except TimeoutError:
            POLLS.labels("timeout").inc()
            self._reject(trainer, f"no response within {self._settings.poll_timeout_seconds:g} s.")
        except InvalidProgress as error:
            POLLS.labels("invalid").inc()
            self._reject(trainer, str(error))
        except OSError:
            # A trainer may not listen yet, or it may have ended before its pod.
            POLLS.labels("unreachable").inc()
        else:
            POLLS.labels("ok").inc()
            self._accept(trainer, snapshot)

    def _accept(self, trainer: Trainer, snapshot: Snapshot) -> None:
        if trainer.uid not in self._trainers:
            return  # its pod ended meanwhile
        self._rejections.pop(trainer.uid, None)
        _, last = self._changed[trainer.uid]
        if last is None or significant(last) != significant(snapshot):
            self._changed[trainer.uid] = datetime.now(UTC), snapshot
        published = self._published.get(trainer.uid)
        if trainer.uid in self._errors:
            self._enqueue(trainer, snapshot)
        elif published is not None and significant(published) == significant(snapshot):
            self._waiting.pop(trainer.key, None)
            self._limiter.discard(trainer.key)
        elif published is None or published.phase != snapshot.phase:
            # There are few phases and they never go back, so this can't exceed the rate.
            self._waiting.pop(trainer.key, None)
            self._limiter.add_immediate(trainer.key)
            self._publish(trainer.key, trainer.uid, snapshot)
        else:
            self._enqueue(trainer, snapshot)

    def _reject(self, trainer: Trainer, error: str) -> None:
        if trainer.uid not in self._trainers:
            return
        log.debug("%s: rejected the progress: %s", trainer.key, error)
        self._rejections[trainer.uid] = self._rejections.get(trainer.uid, 0) + 1
        if self._rejections[trainer.uid] >= REJECTION_THRESHOLD and trainer.uid not in self._errors:
            self._errors[trainer.uid] = error
            self._enqueue(trainer, None)

    def _enqueue(self, trainer: Trainer, snapshot: Snapshot | None) -> None:
        self._waiting[trainer.key] = trainer.uid, snapshot
        self._limiter.add(trainer.key)

    def _publish(self, key: Key, uid: str, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._published[uid] = snapshot
            self._errors.pop(uid, None)
        self._queue.add(key)

    def _newest(self, key: Key) -> str | None:
        pods = [pod for pod in self._store.own_pods(key) if _is_main(pod)]
        return pods[-1]["metadata"]["uid"] if pods else None

    def _update(self, key: Key, now: float) -> None:
        """Updates the trainers of a workload after a change. The last progress of a finished pod is kept until the pod is
        deleted."""
        running = {one.uid: one for one in running_trainers(self._store, [key], self._settings.trainer_networks)}
        before = self._uids.pop(key, set())
        present = {pod["metadata"]["uid"] for pod in self._store.own_pods(key)} if before or running else set()
        kept = running.keys() | (before & present)
        for uid in before - running.keys():
            self._trainers.pop(uid, None)
            self._schedule.remove(uid)
            self._rejections.pop(uid, None)
            self._errors.pop(uid, None)
            self._changed.pop(uid, None)
            if self._waiting.get(key, ("", None))[0] == uid:
                del self._waiting[key]
                self._limiter.discard(key)
        for uid in before - kept:
            self._published.pop(uid, None)
        for uid, trainer in running.items():
            self._trainers[uid] = trainer
            self._changed.setdefault(uid, (datetime.now(UTC), None))
            self._schedule.add(key.namespace, uid, now)
        if kept:
            self._uids[key] = kept


def running_trainers(store: Store, keys: Iterable[Key], networks: Sequence[Network]) -> Iterable[Trainer]:
    """The pods to poll: the newest main pod (index 0) of each workload, while it runs."""
    for key in keys:
        running = [pod for pod in store.own_pods(key) if _is_main(pod) and _has_address(pod)]
        if running:
            pod = running[-1]
            yield Trainer(pod["metadata"]["uid"], key, pod["status"]["podIP"], refusal(pod, networks))


def _has_address(pod: Object) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _is_main(pod: Object) -> bool:
    return index_of(pod) == "0"
