"""Measures what polling costs the operator: `python -m benchmarks.polling --trainers 1000 --finished 10000 --seconds 60`.

No cluster is needed. The poller reads a cache with running and finished DreamBoothJobs; a second process answers for all trainers
on addresses of the loopback network. The time between two polls is measured there, the processor time in the poller's process.
"""

import asyncio
import multiprocessing
import socket
import statistics
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Annotated, Any

import typer

from dreambooth_api.job import KIND
from dreambooth_api.progress import PHASES, Count, PhaseProgress, Snapshot
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.objects.names import LABEL_INDEX, LABEL_JOB
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.poll.poller import Poller
from dreambooth_operator.queueing.adaptive_limit import AdaptiveLimit
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings

NAMESPACES = 20


def main(
    trainers: Annotated[int, typer.Option(help="How many running trainers.", min=0, max=50_000)] = 1000,
    finished: Annotated[int, typer.Option(help="How many finished DreamBoothJobs.", min=0)] = 10_000,
    seconds: Annotated[float, typer.Option(help="How long to measure.", min=1)] = 60,
) -> None:
    """Prints the processor time, and the intervals between two polls of a trainer."""
    here, there = multiprocessing.Pipe()
    listening = socket.create_server(("0.0.0.0", 0), backlog=4096)
    server = multiprocessing.get_context("fork").Process(target=_answer, args=(listening, there), daemon=True)
    server.start()
    cores = asyncio.run(_poll(trainers, finished, seconds, listening.getsockname()[1]))
    here.send(None)
    polls: dict[str, list[float]] = here.recv()
    server.terminate()
    typer.echo(f"{trainers} running, {finished} finished: {cores:.3f} of a core")
    gaps = [later - earlier for times in polls.values() for earlier, later in pairwise(times)]
    if gaps:
        typer.echo(f"{sum(map(len, polls.values()))} polls of {len(polls)} trainers")
        typer.echo(f"interval: median {statistics.median(gaps):.1f} s, longest {max(gaps):.1f} s")


async def _poll(trainers: int, finished: int, seconds: float, port: int) -> float:
    """Polls for some time; returns the processor time as a share of a core."""
    store = Store()
    for number in range(trainers + finished):
        address = f"127.1.{number // 250}.{number % 250 + 1}" if number < trainers else None
        for item in _objects(f"job-{number}", f"team-{number % NAMESPACES}", address):
            store.put(item)
    values = {"trainer_image": "trainer", "trainer_port": port, "trainer_networks": "127.0.0.0/8"}
    queue = WorkQueue(AdaptiveLimit(8))
    poller = asyncio.create_task(Poller(store, queue, Settings.model_validate(values)).run())
    begun, used = time.monotonic(), time.process_time()
    while time.monotonic() < begun + seconds:
        await asyncio.sleep(0.1)
        while len(queue):
            queue.done(await queue.get(), None)
    share = (time.process_time() - used) / (time.monotonic() - begun)
    poller.cancel()
    with suppress(asyncio.CancelledError):
        await poller
    return share


def _objects(name: str, namespace: str, address: str | None) -> list[Object]:
    """A DreamBoothJob with the Job and the pod of its attempt; without an address, they have ended."""
    job = {"apiVersion": API_VERSION, "kind": KIND, "metadata": _metadata(name, namespace, None), "spec": {}}
    attempt: dict[str, Any] = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(f"{name}-0", namespace, name),
        "spec": {},
    }
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(f"{name}-0-0", namespace, name),
        "spec": {},
    }
    attempt["metadata"]["ownerReferences"] = [{"uid": name, "controller": True}]
    pod["metadata"]["ownerReferences"] = [{"uid": f"{name}-0", "controller": True}]
    status = {"phase": "Running", "podIP": address} if address else {"phase": "Succeeded"}
    return [job, attempt, {**pod, "status": status}]


def _metadata(name: str, namespace: str, owner: str | None) -> dict[str, Any]:
    labels = {LABEL_JOB: owner, LABEL_INDEX: "0"} if owner else {}
    return {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "labels": labels}


def _answer(listening: socket.socket, pipe: Connection) -> None:
    """Answers all polls, each with more progress than before, until something arrives in the pipe; then sends their times."""
    polls: defaultdict[str, list[float]] = defaultdict(list)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            times = polls[writer.get_extra_info("sockname")[0]]
            times.append(time.monotonic())
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + _snapshot(len(times)))
            await writer.drain()
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, sock=listening):
            while not pipe.poll():
                await asyncio.sleep(0.2)
        pipe.send(dict(polls))

    asyncio.run(serve())


def _snapshot(step: int) -> bytes:
    """The progress of a trainer after some steps, with all phases."""
    now = datetime.now(UTC)
    phases = [PhaseProgress(name=name, state="running", done=3, total=9, unit="steps", seconds=1.5) for name in PHASES]
    snapshot = Snapshot(
        phase="train",
        phases=phases,
        step=step,
        total_steps=10**6,
        percent=31.5,
        loss=0.125,
        prior_loss=0.0625,
        learning_rate=5e-6,
        grad_norm=1.5,
        steps_per_second=3.0,
        eta_seconds=226.0,
        class_images=Count(done=200, total=200),
        identifier="sks",
        device="NVIDIA H200",
        memory_bytes=2**31,
        device_memory_bytes=2**34,
        started_at=now,
        updated_at=now,
    )
    return snapshot.model_dump_json().encode()


if __name__ == "__main__":
    typer.run(main)
