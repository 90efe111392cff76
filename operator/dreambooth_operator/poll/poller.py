"""The poller: asks running trainers for `/progress`. Started by `main.py` in the replica that leads; read by
`control/controller.py`.

What a trainer says is not trusted: only pods' addresses are asked (`addresses.py`), in little time, for few bytes
(`http.py`), and only what `trust.py` lets through is believed. Namespaces have their turns in who is asked
(`schedule.py`). What a trainer says becomes visible to the controller when it is *released*: at once if its phase changed,
else in turn (`releases.py`). One whose answers are refused again and again is a matter for the job's status.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dreambooth_api.progress import Snapshot
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.metrics.counters import POLLS, RUNNING_TRAINERS
from dreambooth_operator.objects.names import LABEL_INDEX
from dreambooth_operator.objects.observed import Key, Object
from dreambooth_operator.poll.addresses import Network, refusal
from dreambooth_operator.poll.http import ask
from dreambooth_operator.poll.releases import Releases
from dreambooth_operator.poll.schedule import Schedule
from dreambooth_operator.poll.trust import NoSnapshot, snapshot_from, visible
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
"""Between two looks at what is due."""
PATIENCE = 5
"""Answers in a row that must be refused until the status says so."""


class Trainer(NamedTuple):
    """A pod whose main process can be asked."""

    uid: str
    key: Key
    address: str
    refusal: str | None
    """Why it is not asked."""


class Progress:
    """What trainers told, and the task that asks them."""

    def __init__(self, store: Store, queue: WorkQueue, settings: Settings) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._schedule = Schedule(settings)
        self._releases = Releases(settings.status_writes_per_second)
        self._asking: set[asyncio.Task[None]] = set()
        self._waiting: dict[Key, tuple[str, Snapshot | None]] = {}
        self._released: dict[str, Snapshot] = {}
        self._refused: dict[str, int] = {}
        self._errors: dict[str, str] = {}

    def snapshot(self, key: Key) -> Snapshot | None:
        """What was released last of the newest pod with a job's main process."""
        uid = self._newest(key)
        return self._released.get(uid) if uid else None

    def progress_error(self, key: Key) -> str | None:
        """Why that pod's answers are not believed, if they were refused again and again."""
        uid = self._newest(key)
        return self._errors.get(uid) if uid else None

    async def run(self) -> None:
        """Asks until cancelled."""
        last = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                self._ask_due(now)
                for key in self._releases.due(now - last):
                    self._release(key, *self._waiting.pop(key))
                last = now
                await asyncio.sleep(TICK_SECONDS)
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    def _ask_due(self, now: float) -> None:
        """Begins to ask those whose turn it is."""
        keys = list(self._store.keys())
        found = running_trainers(self._store, keys, self._settings.trainer_networks)
        trainers = {trainer.uid: trainer for trainer in found}
        RUNNING_TRAINERS.set(len(trainers))
        self._forget_others(trainers.keys(), keys)
        of_namespaces = [(trainer.key.namespace, uid) for uid, trainer in trainers.items()]
        for uid in self._schedule.due(of_namespaces, now, self._settings.polls_at_once - len(self._asking)):
            task = asyncio.create_task(self._ask(trainers[uid]))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, trainer: Trainer) -> None:
        if trainer.refusal:
            POLLS.labels("refused").inc()
            self._refuse(trainer, trainer.refusal)
            return
        try:
            async with asyncio.timeout(self._settings.poll_timeout_seconds):
                body = await ask(trainer.address, self._settings.trainer_port, "/progress")
            snapshot = snapshot_from(body, self._released.get(trainer.uid))
        except TimeoutError:
            POLLS.labels("timeout").inc()
            self._refuse(trainer, f"it takes longer than {self._settings.poll_timeout_seconds:g} s.")
        except NoSnapshot as error:
            POLLS.labels("invalid").inc()
            self._refuse(trainer, str(error))
        except OSError:
            # Many a trainer takes its time before it answers, and some ends before its pod does.
            POLLS.labels("unreachable").inc()
        else:
            POLLS.labels("ok").inc()
            self._take(trainer, snapshot)

    def _take(self, trainer: Trainer, snapshot: Snapshot) -> None:
        self._refused.pop(trainer.uid, None)
        released = self._released.get(trainer.uid)
        if trainer.uid in self._errors:
            self._wait(trainer, snapshot)
        elif released is not None and visible(released) == visible(snapshot):
            self._waiting.pop(trainer.key, None)
            self._releases.forget(trainer.key)
        elif released is None or released.phase != snapshot.phase:
            # Phases only go on, so this can't happen often.
            self._waiting.pop(trainer.key, None)
            self._releases.at_once(trainer.key)
            self._release(trainer.key, trainer.uid, snapshot)
        else:
            self._wait(trainer, snapshot)

    def _refuse(self, trainer: Trainer, why: str) -> None:
        log.debug("%s/%s: its answer about its progress is refused: %s", *trainer.key, why)
        self._refused[trainer.uid] = self._refused.get(trainer.uid, 0) + 1
        if self._refused[trainer.uid] >= PATIENCE and trainer.uid not in self._errors:
            self._errors[trainer.uid] = why
            self._wait(trainer, None)

    def _wait(self, trainer: Trainer, snapshot: Snapshot | None) -> None:
        self._waiting[trainer.key] = trainer.uid, snapshot
        self._releases.wait(trainer.key)

    def _release(self, key: Key, uid: str, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._released[uid] = snapshot
            self._errors.pop(uid, None)
        self._queue.add(key)

    def _newest(self, key: Key) -> str | None:
        pods = [pod for pod in self._store.own_pods(key) if _is_main(pod)]
        return pods[-1]["metadata"]["uid"] if pods else None

    def _forget_others(self, running: Iterable[str], keys: Iterable[Key]) -> None:
        """Forgets pods that are gone; the last snapshot of a pod that ended stays as long as the pod."""
        running = set(running)
        for key, (uid, _) in list(self._waiting.items()):
            if uid not in running:
                del self._waiting[key]
                self._releases.forget(key)
        for uid in (self._refused.keys() | self._errors.keys()) - running:
            self._refused.pop(uid, None)
            self._errors.pop(uid, None)
        if self._released.keys() - running:
            present = {pod["metadata"]["uid"] for key in keys for pod in self._store.own_pods(key)}
            for uid in self._released.keys() - present:
                del self._released[uid]


def running_trainers(store: Store, keys: Iterable[Key], networks: Sequence[Network]) -> Iterable[Trainer]:
    """The pods that can be asked: of each job the newest with its main process (index 0), while it runs."""
    for key in keys:
        running = [pod for pod in store.own_pods(key) if _is_main(pod) and _has_address(pod)]
        if running:
            pod = running[-1]
            yield Trainer(pod["metadata"]["uid"], key, pod["status"]["podIP"], refusal(pod, networks))


def _has_address(pod: Object) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _is_main(pod: Object) -> bool:
    return pod["metadata"].get("labels", {}).get(LABEL_INDEX) == "0"
