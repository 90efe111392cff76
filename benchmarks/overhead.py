"""Measures the CPU use of an operator while many DreamBoothJobs run: `python -m benchmarks.overhead --jobs 1000
--seconds 120`.

The cluster of `KUBECONFIG` must have the CustomResourceDefinition, no other operator and no nodes: the trainers and the
node are simulated. This program binds the pods of the operator's Jobs to a simulated node, and sets their status to
running, each with its own loopback address. There it serves `/progress`, with one more step each second. It scrapes
`/metrics` of the operator like Prometheus, and prints the CPU time and memory that the operator reports there.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import aiohttp
import typer
from aiohttp import web
from kubernetes.aio import client

from benchmarks.operators import NAMESPACE, dreambooth_job, leading_operator, stage
from dreambooth_api.job import KIND
from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Object
from dreambooth_trainer.monitoring.progress import Progress

AT_ONCE = 20
SCRAPE_SECONDS = 15
SETTLED_SECONDS = 1200
"""Seconds until all DreamBoothJobs must run."""
STEPS = 100_000
NODE, LEASES = "simulated", "kube-node-lease"
HEARTBEAT_SECONDS = 10
TRAINER_PORT = 18080
OPERATOR_PORT = 19090


def main(
    jobs: Annotated[int, typer.Option(help="Number of running DreamBoothJobs.", min=1, max=60_000)] = 1000,
    seconds: Annotated[float, typer.Option(help="Seconds of the measurement.", min=SCRAPE_SECONDS)] = 120,
) -> None:
    """Prints the operator's share of a core."""
    asyncio.run(measure(jobs, seconds))


async def measure(jobs: int, seconds: float) -> None:
    """Measures and prints."""
    async with stage() as (cluster, api):
        core = client.CoreV1Api(api)
        node = asyncio.create_task(_simulated_node(core, client.CoordinationV1Api(api)))
        trainers = await _simulated_trainers()
        settings = {"PORT": str(OPERATOR_PORT), "TRAINER_PORT": str(TRAINER_PORT), "TRAINER_NETWORKS": "127.0.0.0/8"}
        async with leading_operator(settings):
            begun = time.monotonic()
            await _at_once([cluster.create(dreambooth_job(f"job-{number}")) for number in range(jobs)])
            await _run_all(cluster, core, jobs)
            typer.echo(f"{jobs} DreamBoothJobs run after {time.monotonic() - begun:.0f} s, with simulated trainers")
            scrapes = asyncio.create_task(_scrape())
            before, begun = await _metrics(), time.monotonic()
            await asyncio.sleep(seconds)
            after, passed = await _metrics(), time.monotonic() - begun
            scrapes.cancel()
            _print(before, after, passed)
        await trainers.cleanup()
        node.cancel()
        await core.delete_node(NODE)


async def _simulated_node(core: client.CoreV1Api, coordination: client.CoordinationV1Api) -> None:
    """A node without scheduling, and its heartbeat: Kubernetes would delete the pods of a lost node."""
    ready = client.V1NodeCondition(type="Ready", status="True", reason="Simulated", message="")
    node = client.V1Node(
        metadata=client.V1ObjectMeta(name=NODE),
        spec=client.V1NodeSpec(unschedulable=True),
        status=client.V1NodeStatus(conditions=[ready]),
    )
    await core.create_node(node)
    await coordination.create_namespaced_lease(LEASES, client.V1Lease(metadata=client.V1ObjectMeta(name=NODE)))
    while True:
        spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": f"{datetime.now(UTC):%FT%T.%fZ}"}
        await coordination.patch_namespaced_lease(NODE, LEASES, {"spec": spec})
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def _simulated_trainers() -> web.AppRunner:
    """Serves the progress of trainers at all addresses: they started now, and finish one step per second."""
    begun = time.monotonic()
    progress = Progress()
    progress.update(identifier="sks", device="simulated", total_steps=STEPS)
    with progress.phase("prepare"):
        pass
    with progress.phase("train", total=STEPS, unit="steps"):
        snapshot = progress.snapshot()

    async def answer(request: web.Request) -> web.Response:
        step = min(STEPS, int(time.monotonic() - begun))
        now = snapshot.model_copy(update={"step": step, "loss": 1 / (1 + step), "updated_at": datetime.now(UTC)})
        return web.Response(body=now.model_dump_json(), content_type="application/json")

    application = web.Application()
    application.router.add_get("/progress", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", TRAINER_PORT).start()
    return runner


async def _run_all(cluster: Cluster, core: client.CoreV1Api, jobs: int) -> None:
    """Sets every new pod to running, until all DreamBoothJobs run."""
    started: set[str] = set()
    async with asyncio.timeout(SETTLED_SECONDS):
        while True:
            pods, _ = await cluster.list("Pod", NAMESPACE, labels=LABEL_JOB)
            new = [pod for pod in pods if pod["metadata"]["name"] not in started]
            running = [_run(core, pod, len(started) + number) for number, pod in enumerate(new)]
            await _at_once(running)
            started |= {pod["metadata"]["name"] for pod in new}
            items, _ = await cluster.list(KIND, NAMESPACE)
            if sum(item.get("status", {}).get("progress", {}).get("step", 0) > 0 for item in items) >= jobs:
                return
            await asyncio.sleep(2)


async def _run(core: client.CoreV1Api, pod: Object, number: int) -> None:
    address, now = f"127.1.{number // 250}.{number % 250 + 1}", pod["metadata"]["creationTimestamp"]
    container = {"name": "trainer", "ready": True, "restartCount": 0, "image": "trainer", "imageID": "trainer"}
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "containerStatuses": [{**container, "state": {"running": {"startedAt": now}}}],
    }
    target = client.V1ObjectReference(kind="Node", name=NODE)
    binding = client.V1Binding(metadata=client.V1ObjectMeta(name=pod["metadata"]["name"]), target=target)
    # The library parses the response as a Binding, but it is a Status.
    await core.create_namespaced_binding_without_preload_content(NAMESPACE, binding)
    await core.patch_namespaced_pod_status(pod["metadata"]["name"], NAMESPACE, {"status": status})


async def _scrape() -> None:
    while True:
        await _metrics()
        await asyncio.sleep(SCRAPE_SECONDS)


async def _metrics() -> Mapping[str, float]:
    address = f"http://127.0.0.1:{OPERATOR_PORT}/metrics"
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        lines = [line.rpartition(" ") for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in lines}


def _print(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> None:
    def rate(name: str) -> float:
        return (after[name] - before[name]) / seconds

    cores, memory = rate("process_cpu_seconds_total"), after["process_resident_memory_bytes"]
    typer.echo(f"operator: {cores:.2f} of a core over {seconds:.0f} s, {memory / 2**20:.0f} MiB, {len(after)} series")
    for name in ("status_writes_total", 'polls_total{result="ok"}', "reconcile_seconds_count"):
        typer.echo(f"{name}: {rate(f'dreambooth_operator_{name}'):.1f} a second")


async def _at_once(coroutines: list[Any]) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(coroutine: Any) -> None:
        async with limit:
            await coroutine

    await asyncio.gather(*map(one, coroutines))


if __name__ == "__main__":
    typer.run(main)
