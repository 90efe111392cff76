"""The poller: asks running trainers for `/progress`. Started by `main.py` in the replica that leads; read by `controller.py`.

What a trainer says is not trusted: little time, few bytes, no redirects, and only what `snapshots.py` lets through. What it
says becomes visible to the controller when it is *released*: at once if the trainer's phase changed, else in turn, so that all
jobs together cause no more than `status_writes_per_second` writes.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

import aiohttp

from dreambooth_operator.metrics import POLLS, TRAINERS
from dreambooth_operator.names import LABEL_INDEX
from dreambooth_operator.observed import Key, Object
from dreambooth_operator.settings import Settings
from dreambooth_operator.snapshots import BODY_BYTES, snapshot_from, visible
from dreambooth_operator.store import Store
from dreambooth_operator.work_queue import WorkQueue
from dreambooth_trainer.snapshot import Snapshot

log = logging.getLogger(__name__)

TICK_SECONDS = 0.1
"""Between two looks at what is due."""


class Trainer(NamedTuple):
    """A pod whose main process can be asked."""

    uid: str
    key: Key
    address: str


class Progress:
    """What trainers told, and the task that asks them."""

    def __init__(self, store: Store, queue: WorkQueue, settings: Settings) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._asked: dict[str, float] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, tuple[Key, Snapshot]] = {}
        self._released: dict[str, Snapshot] = {}
        self._tokens = 1.0

    def snapshot(self, key: Key) -> Snapshot | None:
        """What was released last of the newest pod with a job's main process."""
        pods = [pod for pod in self._store.own_pods(key) if _is_main(pod)]
        return self._released.get(pods[-1]["metadata"]["uid"]) if pods else None

    async def run(self) -> None:
        """Asks until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._settings.poll_timeout_seconds)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.polls_at_once, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=timeout,
        ) as session:
            last = time.monotonic()
            try:
                while True:
                    self._ask_due(session)
                    now = time.monotonic()
                    self._release_waiting(now - last)
                    last = now
                    await asyncio.sleep(TICK_SECONDS)
            finally:
                for task in self._asking:
                    task.cancel()
                await asyncio.gather(*self._asking, return_exceptions=True)

    def _ask_due(self, session: aiohttp.ClientSession) -> None:
        """Begins to ask those that are due, longest waiting first, as many as may be asked at once."""
        now = time.monotonic()
        keys = list(self._store.keys())
        trainers = list(running_trainers(self._store, keys, self._settings.trainer_port))
        TRAINERS.set(len(trainers))
        self._forget_others({trainer.uid for trainer in trainers}, keys)
        pause = seconds_between(len(trainers), self._settings)
        due = [trainer for trainer in trainers if now - self._asked.get(trainer.uid, float("-inf")) >= pause]
        due.sort(key=lambda trainer: self._asked.get(trainer.uid, float("-inf")))
        for trainer in due[: self._settings.polls_at_once - len(self._asking)]:
            self._asked[trainer.uid] = now
            task = asyncio.create_task(self._ask(session, trainer))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, session: aiohttp.ClientSession, trainer: Trainer) -> None:
        try:
            body = await _fetch(session, trainer.address)
        except (aiohttp.ClientError, OSError) as error:
            POLLS.labels("timeout" if isinstance(error, TimeoutError) else "unreachable").inc()
            return
        snapshot = snapshot_from(body) if body is not None else None
        if snapshot is None:
            POLLS.labels("invalid").inc()
            log.debug("%s/%s: /progress gave no snapshot", *trainer.key)
            return
        POLLS.labels("ok").inc()
        self._take(trainer, snapshot)

    def _take(self, trainer: Trainer, snapshot: Snapshot) -> None:
        released = self._released.get(trainer.uid)
        if released is not None and visible(released) == visible(snapshot):
            self._waiting.pop(trainer.uid, None)
        elif released is None or released.phase != snapshot.phase:
            self._waiting.pop(trainer.uid, None)
            self._release(trainer.uid, trainer.key, snapshot)
        else:
            # A key that is there already keeps its place: none waits for ever behind others.
            self._waiting[trainer.uid] = trainer.key, snapshot

    def _release_waiting(self, seconds: float) -> None:
        """Releases as many of those that wait as the passed seconds allow, longest waiting first."""
        rate = self._settings.status_writes_per_second
        self._tokens = min(max(1.0, rate), self._tokens + seconds * rate)
        while self._waiting and self._tokens >= 1:
            uid = next(iter(self._waiting))
            self._release(uid, *self._waiting.pop(uid))

    def _release(self, uid: str, key: Key, snapshot: Snapshot) -> None:
        self._tokens -= 1
        self._released[uid] = snapshot
        self._queue.add(key)

    def _forget_others(self, running: set[str], keys: Iterable[Key]) -> None:
        """Forgets pods that are gone; the last snapshot of a pod that ended stays as long as the pod."""
        for uid in self._asked.keys() - running:
            del self._asked[uid]
            self._waiting.pop(uid, None)
        if self._released.keys() - running:
            present = {pod["metadata"]["uid"] for key in keys for pod in self._store.own_pods(key)}
            for uid in self._released.keys() - present:
                del self._released[uid]


def seconds_between(trainers: int, settings: Settings) -> float:
    """Seconds between two questions to the same trainer: so many that all can be asked even if none of them answers."""
    return max(settings.poll_seconds, trainers * settings.poll_timeout_seconds / settings.polls_at_once)


def running_trainers(store: Store, keys: Iterable[Key], port: int) -> Iterable[Trainer]:
    """The pods that can be asked: those with the main process of a job (index 0), while they run."""
    for key in keys:
        for pod in store.own_pods(key):
            status = pod.get("status", {})
            if _is_main(pod) and status.get("phase") == "Running" and status.get("podIP"):
                host = f"[{status['podIP']}]" if ":" in status["podIP"] else status["podIP"]
                yield Trainer(pod["metadata"]["uid"], key, f"http://{host}:{port}/progress")


def _is_main(pod: Object) -> bool:
    return pod["metadata"].get("labels", {}).get(LABEL_INDEX) == "0"


async def _fetch(session: aiohttp.ClientSession, address: str) -> bytes | None:
    """The body of the answer; None if it is no plain answer of a modest size."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with session.get(address, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200 or answer.headers.get("Content-Encoding", "identity") != "identity":
            return None
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > BODY_BYTES:
                return None
        return bytes(body)
