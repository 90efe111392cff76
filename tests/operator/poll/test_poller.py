import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from dreambooth_api.progress import Snapshot
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.metrics.counters import POLLS
from dreambooth_operator.objects.observed import Key
from dreambooth_operator.poll.poller import REJECTION_THRESHOLD, Poller, running_trainers
from dreambooth_operator.queueing.adaptive_limit import AdaptiveLimit
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings
from tests.operator.clusters import until
from tests.operator.objects_of import dreambooth_job, job, pod
from tests.operator.poll.test_snapshot_validation import make_snapshot

DOG = Key("space", "dog")
LOOPBACK = "127.0.0.0/8"
"""Network of the fake trainers; others are never polled."""
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def polls(result: str) -> float:
    value: float = POLLS.labels(result)._value.get()
    return value


def raw(*parts: bytes, pause: float = 0.0, again: bool = False) -> Raw:
    """Sends these bytes for any request; repeats the last of them without end if `again`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
            while again:
                writer.write(parts[-1])
                await writer.drain()
                await asyncio.sleep(pause)
        writer.close()

    return serve


class Trainers:
    """Pods with addresses in the loopback network, and the poller."""

    def __init__(self, **settings: Any) -> None:
        self.store = Store()
        self.queue = WorkQueue(AdaptiveLimit(8))
        self.settings = settings

    def add(self, name: str, address: str) -> Key:
        owner = dreambooth_job(name)
        self.store.put(owner)
        self.store.put(job(owner))
        self.store.put(pod(job(owner), address=address))
        return Key("space", name)

    @asynccontextmanager
    async def answering(self, handler: Handler) -> AsyncIterator[Poller]:
        application = web.Application()
        application.router.add_get("/progress", handler)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", 0).start()
        async with self._asking(runner.addresses[0][1]) as progress:
            yield progress
        await runner.cleanup()

    @asynccontextmanager
    async def sending(self, serve: Raw) -> AsyncIterator[Poller]:
        server = await asyncio.start_server(serve, "0.0.0.0", 0)
        async with self._asking(server.sockets[0].getsockname()[1]) as progress:
            yield progress
        server.close()

    @asynccontextmanager
    async def _asking(self, port: int) -> AsyncIterator[Poller]:
        values = {"trainer_image": "trainer", "trainer_port": port, "poll_seconds": 0.2, "trainer_networks": LOOPBACK}
        values |= self.settings
        progress = Poller(self.store, self.queue, Settings.model_validate(values))
        task = asyncio.create_task(progress.run())
        try:
            yield progress
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def saying(*snapshots: Snapshot) -> Handler:
    """Returns these answers, and repeats the last one."""
    left = list(snapshots)

    async def answer(request: web.Request) -> web.Response:
        snapshot = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(body=snapshot.model_dump_json(), content_type="application/json")

    return answer


def test_progress_reaches_the_queue_and_the_controller() -> None:
    async def test() -> None:
        trainers = Trainers()
        trainers.add("dog", "127.0.0.1")
        async with trainers.answering(saying(make_snapshot(step=1))) as progress:
            await until(lambda: len(trainers.queue) == 1)
            assert await trainers.queue.get() == DOG
            assert progress.snapshot(DOG) == make_snapshot(step=1)

    asyncio.run(test())


def test_only_changes_are_queued() -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.01)
        trainers.add("dog", "127.0.0.1")
        async with trainers.answering(saying(make_snapshot(memory_bytes=1), make_snapshot(memory_bytes=2))) as progress:
            await until(lambda: len(trainers.queue) == 1)
            trainers.queue.done(await trainers.queue.get(), None)
            await asyncio.sleep(0.5)
            assert len(trainers.queue) == 0
            assert progress.snapshot(DOG) == make_snapshot(memory_bytes=1), "it proves that the slot was released"

    asyncio.run(test())


@pytest.mark.timed
def test_updates_stay_below_the_rate_and_are_fair() -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.01, status_writes_per_second=20)
        keys = [trainers.add(f"job-{number}", f"127.0.1.{number}") for number in range(1, 31)]
        steps = iter(range(1, 10**6))

        async def advance(request: web.Request) -> web.Response:
            return web.Response(body=make_snapshot(step=next(steps)).model_dump_json())

        async with trainers.answering(advance):
            await until(lambda: len(trainers.queue) == len(keys))
            for _ in keys:
                trainers.queue.done(await trainers.queue.get(), None)
            # The thirty immediate updates at the start count first, at twenty updates per second.
            woken: list[Key] = []
            begun = time.monotonic()
            for _ in range(400):
                while len(trainers.queue):
                    woken.append(await trainers.queue.get())
                    trainers.queue.done(woken[-1], None)
                await asyncio.sleep(0.01)
            elapsed = time.monotonic() - begun
        assert 20 <= len(woken) <= 20 * elapsed + 5
        counts = [woken.count(key) for key in keys]
        assert max(counts) - min(counts) <= 2, "some wait behind others"

    asyncio.run(test())


def test_a_new_phase_is_published_at_once() -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.05, status_writes_per_second=0.01)
        trainers.add("dog", "127.0.0.1")
        async with trainers.answering(
            saying(make_snapshot(phase="prior"), make_snapshot(phase="prior", step=1), make_snapshot(phase="train"))
        ) as progress:
            await until(lambda: len(trainers.queue) == 1)
            trainers.queue.done(await trainers.queue.get(), None)
            await until(lambda: len(trainers.queue) == 1)
            snapshot = progress.snapshot(DOG)
            assert snapshot is not None and snapshot.phase == "train"

    asyncio.run(test())


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 8192)


async def slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


BOMB = gzip.compress(b" " * 50_000_000)


async def bomb(request: web.Request) -> web.Response:
    headers = {"Content-Encoding": "gzip"}
    return web.Response(body=BOMB, headers=headers)


async def elsewhere(request: web.Request) -> web.Response:
    if request.host.startswith("127.0.0.9"):
        return web.Response(body=make_snapshot().model_dump_json())
    raise web.HTTPFound(f"http://127.0.0.9:{request.url.port}/progress")


async def nonsense(request: web.Request) -> web.Response:
    return web.Response(body=make_snapshot().model_dump_json().replace("120", "-120"))


async def failing(request: web.Request) -> web.Response:
    return web.Response(status=500, body=make_snapshot().model_dump_json())


async def closing(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (endless, "invalid"),
        (slow, "timeout"),
        (bomb, "invalid"),
        (elsewhere, "invalid"),
        (nonsense, "invalid"),
        (failing, "invalid"),
        (closing, "unreachable"),
    ],
)
def test_a_misbehaving_trainer_is_counted_and_does_not_affect_others(handler: Handler, result: str) -> None:
    async def test() -> None:
        trainers = Trainers(poll_timeout_seconds=0.5)
        trainers.add("dog", "127.0.0.1")
        good = trainers.add("good", "127.0.0.2")

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.host.startswith("127.0.0.2"):
                return web.Response(body=make_snapshot().model_dump_json())
            return await handler(request)

        before = polls(result)
        async with trainers.answering(answer) as progress:
            await until(lambda: polls(result) > before + 1)
            assert progress.snapshot(DOG) is None
            assert progress.snapshot(good) == make_snapshot()

    asyncio.run(test())


def test_the_number_of_concurrent_polls_is_limited() -> None:
    async def test() -> None:
        trainers = Trainers(polls_at_once=3, poll_timeout_seconds=0.2)
        for number in range(1, 13):
            trainers.add(f"job-{number}", f"127.0.1.{number}")
        present, most, asked = 0, 0, set()

        async def hang(request: web.Request) -> web.Response:
            nonlocal present, most
            present, asked_host = present + 1, request.host
            most = max(most, present)
            asked.add(asked_host)
            try:
                await asyncio.sleep(10)
            finally:
                present -= 1
            return web.Response()

        async with trainers.answering(hang):
            await until(lambda: len(asked) == 12)
        assert most <= 3

    asyncio.run(test())


def test_the_last_snapshot_is_kept_until_the_pod_is_deleted() -> None:
    async def test() -> None:
        trainers = Trainers()
        trainers.add("dog", "127.0.0.1")
        async with trainers.answering(saying(make_snapshot())) as progress:
            await until(lambda: progress.snapshot(DOG) is not None)
            ended = pod(job(dreambooth_job()), version=2)
            trainers.store.put({**ended, "status": {"phase": "Succeeded"}})
            await asyncio.sleep(0.3)
            assert progress.snapshot(DOG) == make_snapshot()
            trainers.store.remove(ended)
            await until(lambda: not progress._published)
            assert progress.snapshot(DOG) is None

    asyncio.run(test())


def test_a_new_pod_does_not_inherit_a_snapshot() -> None:
    async def test() -> None:
        trainers = Trainers()
        trainers.add("dog", "127.0.0.1")
        async with trainers.answering(saying(make_snapshot())) as progress:
            await until(lambda: progress.snapshot(DOG) is not None)
            trainers.store.put(job(dreambooth_job(), 1, version=5))
            trainers.store.put(pod(job(dreambooth_job(), 1), version=6, address="127.0.0.77") | {"status": {}})
            assert progress.snapshot(DOG) is None

    asyncio.run(test())


OK = b"HTTP/1.1 200 OK\r\n"
BODY = make_snapshot().model_dump_json().encode()


@pytest.mark.parametrize(
    ("serve", "result"),
    [
        (raw(OK, b"X-Again: 1\r\n", again=True), "invalid"),
        (raw(OK, b"X-Long: ", b"x" * 4096, again=True), "invalid"),
        (raw(b"HTTP/1.1 200 " + b"x" * 4096, again=True), "invalid"),
        (raw(OK, b"X-Slow: ", b"x", again=True, pause=0.05), "timeout"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, again=True), "invalid"),
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n" + BODY), "invalid"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n" + BODY), "invalid"),
        (raw(OK + b"Content-Length: 9999999999\r\n\r\n" + BODY), "invalid"),
        (raw(OK + b"Content-Length: -1\r\n\r\n" + BODY), "invalid"),
        (raw(OK + b"Content-Length: 9\r\n\r\n" + BODY), "invalid"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n", again=True), "invalid"),
        (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"), "invalid"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "invalid"),
        (raw(OK + b"Connection: keep-alive\r\nContent-Length: 0\r\n\r\n", OK, again=True), "invalid"),
    ],
    ids=[
        "endless headers",
        "an endless header",
        "an endless status line",
        "dripping",
        "endless interim answers",
        "no content",
        "another protocol",
        "too little",
        "negative length",
        "short length",
        "endless chunks",
        "a giant chunk",
        "no HTTP",
        "more answers than questions",
    ],
)
def test_malicious_http_is_rejected(serve: Raw, result: str) -> None:
    async def test() -> None:
        trainers = Trainers(poll_timeout_seconds=0.5 if result == "timeout" else 30)
        trainers.add("dog", "127.0.0.1")
        before = polls(result)
        async with trainers.sending(serve) as progress:
            await until(lambda: polls(result) > before + 1)
            assert progress.snapshot(DOG) is None

    asyncio.run(test())


def test_repeated_rejections_are_reported_until_a_valid_response() -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.01)
        trainers.add("dog", "127.0.0.1")
        asked = 0

        async def answer(request: web.Request) -> web.Response:
            nonlocal asked
            asked += 1
            return web.Response(body=b"{" if asked <= REJECTION_THRESHOLD else make_snapshot().model_dump_json())

        async with trainers.answering(answer) as progress:
            await until(lambda: len(trainers.queue) == 1)
            assert progress.progress_error(DOG) == "it is not JSON."
            trainers.queue.done(await trainers.queue.get(), None)
            await until(lambda: len(trainers.queue) == 1)
            assert (progress.progress_error(DOG), progress.snapshot(DOG)) == (None, make_snapshot())

    asyncio.run(test())


def test_a_refused_address_is_not_polled_but_reported() -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.01, trainer_networks="10.0.0.0/8")
        trainers.add("dog", "127.0.0.1")
        asked = []

        async def answer(request: web.Request) -> web.Response:
            asked.append(request)
            return web.Response(body=make_snapshot().model_dump_json())

        before = polls("refused")
        async with trainers.answering(answer) as progress:
            await until(lambda: progress.progress_error(DOG) is not None)
        assert not asked and polls("refused") >= before + REJECTION_THRESHOLD

    asyncio.run(test())


def test_only_the_newest_running_main_pod_of_each_dreamboothjob_is_polled() -> None:
    dog = dreambooth_job()
    main, other = pod(job(dog), address="fd00::7"), pod(job(dog), index=1)
    older, pending = pod(job(dog, 3), version=0), pod(job(dog, 1)) | {"status": {"phase": "Pending"}}
    foreign = pod(job(dog, 2))
    foreign["metadata"]["ownerReferences"] = []
    store = Store()
    for item in (dog, *(job(dog, number) for number in range(4)), older, main, other, pending, foreign):
        store.put(item)
    found = running_trainers(store, [DOG], [])
    assert [trainer.address for trainer in found] == ["fd00::7"]


def test_a_pod_with_host_network_is_refused() -> None:
    dog = dreambooth_job()
    outside = pod(job(dog), address="192.0.2.7")
    outside["status"]["hostIP"] = "192.0.2.7"
    store = Store()
    for item in (dog, job(dog), outside):
        store.put(item)
    (trainer,) = running_trainers(store, [DOG], [])
    assert trainer.refusal is not None and "network of its node" in trainer.refusal


def test_finished_dreamboothjobs_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        trainers = Trainers()
        trainers.add("dog", "127.0.0.1")
        for number in range(50):
            trainers.add(f"ended-{number}", "127.0.0.2")
            ended = pod(job(dreambooth_job(f"ended-{number}")), version=2)
            trainers.store.put({**ended, "status": {"phase": "Succeeded"}})
        async with trainers.answering(saying(make_snapshot())) as progress:
            await until(lambda: progress.snapshot(DOG) is not None)
            looks = []
            original = Store.own_pods
            monkeypatch.setattr(Store, "own_pods", lambda store, key: looks.append(key) or original(store, key))
            await asyncio.sleep(0.5)
            assert looks == []
            trainers.add("cat", "127.0.0.3")
            await until(lambda: progress.snapshot(Key("space", "cat")) is not None)
            assert {key.name for key in looks} == {"cat"}

    asyncio.run(test())


@pytest.mark.parametrize("change", ["pod", "job", "dreamboothjob"])
def test_a_trainer_is_no_longer_polled_when_an_object_of_its_chain_is_deleted(change: str) -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.05)
        trainers.add("dog", "127.0.0.1")
        asked = 0

        async def answer(request: web.Request) -> web.Response:
            nonlocal asked
            asked += 1
            return web.Response(body=make_snapshot().model_dump_json())

        async with trainers.answering(answer) as progress:
            await until(lambda: asked > 1)
            owner = dreambooth_job()
            trainers.store.remove({"pod": pod(job(owner)), "job": job(owner), "dreamboothjob": owner}[change])
            await asyncio.sleep(0.3)
            before = asked
            await asyncio.sleep(0.3)
            assert (asked, progress._trainers, progress._published, len(progress._schedule)) == (before, {}, {}, 0)

    asyncio.run(test())


def test_a_defect_in_one_poll_does_not_end_the_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Poller._accept

    def accept(progress: Poller, trainer: Any, snapshot: Snapshot) -> None:
        if trainer.key == DOG:
            raise KeyError("an unexpected value")
        original(progress, trainer, snapshot)

    monkeypatch.setattr(Poller, "_accept", accept)

    async def test() -> None:
        trainers = Trainers()
        trainers.add("dog", "127.0.0.1")
        before = polls("bug")
        async with trainers.answering(saying(make_snapshot())) as progress:
            await until(lambda: polls("bug") > before + 1)
            good = trainers.add("good", "127.0.0.2")
            await until(lambda: progress.snapshot(good) is not None)

    asyncio.run(test())


def test_the_time_of_the_last_progress_is_known() -> None:
    async def test() -> None:
        trainers = Trainers(poll_seconds=0.05)
        trainers.add("dog", "127.0.0.1")
        snapshot = make_snapshot(step=1)

        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=snapshot.model_dump_json())

        before = datetime.now(UTC)
        async with trainers.answering(answer) as progress:
            await until(lambda: progress.snapshot(DOG) is not None)
            first = progress.progress_since(DOG)
            assert first is not None and first >= before
            await asyncio.sleep(0.3)
            assert progress.progress_since(DOG) == first, "its steps are the same"
            snapshot = make_snapshot(step=2)
            await until(lambda: progress.progress_since(DOG) != first)
            assert progress.progress_since(Key("space", "cat")) is None

    asyncio.run(test())
