"""Measures how long it takes from applying a DreamBoothJob until its Job exists, with an operator of its own.

    KUBECONFIG=... python -m benchmarks.reconcile --jobs 300 --rate 10

The cluster that `KUBECONFIG` names must have the CustomResourceDefinition, and should have no other operator. Everything happens
in a namespace that is deleted afterwards. Jobs begin at even distances, whatever became of those before; each is timed from the
moment its request is sent until this program's own watch sees the Job, so a slow API server counts too.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from contextlib import suppress
from typing import Annotated, Any

import typer
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from dreambooth_operator.api.dreamboothjob import API_VERSION, KIND
from dreambooth_operator.cluster import Cluster
from dreambooth_operator.names import LABEL_JOB

OPERATOR = [sys.executable, "-m", "dreambooth_operator"]
NAMESPACE = "dreambooth-benchmark"
PHOTOS = "photos"
PERCENTILES = (50, 90, 99)
PATIENCE_SECONDS = 60


def main(
    jobs: Annotated[int, typer.Option(help="How many DreamBoothJobs.", min=2)] = 300,
    rate: Annotated[float, typer.Option(help="How many of them a second.", min=0.1)] = 10,
) -> None:
    """Prints the percentiles; exits with 1 if a Job is missing in the end."""
    missing = asyncio.run(measure(jobs, rate))
    if missing:
        raise typer.Exit(1)


async def measure(jobs: int, rate: float) -> int:
    """Measures and prints; returns the number of jobs that have no Job."""
    cluster = await Cluster.connect()
    api = client.ApiClient(cluster.configuration)
    core = client.CoreV1Api(api)
    await _make_namespace(core)
    operator = await _operator()
    created: dict[str, float] = {}
    watch = asyncio.create_task(_watch(api, created))
    applied: dict[str, float] = {}
    try:
        begun = time.monotonic()
        sending = []
        for number in range(jobs):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            name = f"job-{number}"
            applied[name] = time.monotonic()
            sending.append(asyncio.create_task(cluster.create(_job(name))))
        await asyncio.gather(*sending)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(created) < jobs:
                    await asyncio.sleep(0.05)
        seconds = time.monotonic() - begun
    finally:
        watch.cancel()
        operator.terminate()
        await operator.wait()
        await core.delete_namespace(NAMESPACE)
        await api.close()
        await cluster.close()
    _report([created[name] - applied[name] for name in applied if name in created], jobs, seconds)
    return jobs - len(created)


async def _make_namespace(core: client.CoreV1Api) -> None:
    """Makes the namespace with the photos that the jobs name, as soon as one of an earlier run is gone."""
    for _ in range(PATIENCE_SECONDS):
        try:
            await core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
            photos = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=PHOTOS))
            await core.create_namespaced_config_map(NAMESPACE, photos)
            return
        except ApiException as error:
            if error.status != 409:
                raise
        await asyncio.sleep(1)
    raise SystemExit(f"the namespace {NAMESPACE} of an earlier run does not end")


async def _operator() -> asyncio.subprocess.Process:
    """Starts an operator and waits until it leads."""
    settings = {
        "TRAINER_IMAGE": "trainer",
        "NAMESPACES": NAMESPACE,
        "NAMESPACE": NAMESPACE,
        "IDENTITY": "benchmark",
        "PORT": "0",
        "LOG_LEVEL": "INFO",
    }
    environment = {**os.environ, **{f"DREAMBOOTH_{name}": value for name, value in settings.items()}}
    operator = await asyncio.create_subprocess_exec(*OPERATOR, env=environment, stderr=asyncio.subprocess.PIPE)
    assert operator.stderr is not None
    async for line in operator.stderr:
        if b" leads: " in line:
            break
    else:
        raise SystemExit("the operator ended")
    asyncio.create_task(_drain(operator.stderr))  # noqa: RUF006  # it lives as long as the process
    # Its watches begin a moment after the Lease is had.
    await asyncio.sleep(3)
    return operator


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


async def _watch(api: client.ApiClient, created: dict[str, float]) -> None:
    """Notes when the Job of each DreamBoothJob was seen first."""
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    query = [("watch", "true"), ("labelSelector", LABEL_JOB)]
    prepared = await api.param_serialize("GET", path, query_params=query, auth_settings=["BearerToken"])
    answer = await api.call_api(*prepared, _request_timeout=3600)
    async for line in answer.response.content:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == "ADDED":
            created.setdefault(event["object"]["metadata"]["labels"][LABEL_JOB], time.monotonic())


def _job(name: str) -> dict[str, Any]:
    spec = {
        "model": {"source": "embedded://emoji"},
        "subject": {"class": "dog", "identifier": "sks", "images": {"configMap": {"name": PHOTOS}}},
        "resources": {"gpusPerNode": 0},
    }
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def _report(latencies: list[float], jobs: int, seconds: float) -> None:
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    typer.echo(f"{len(latencies)} of {jobs} Jobs in {seconds:.1f} s ({jobs / seconds:.1f} a second)")
    for percentile in PERCENTILES:
        typer.echo(f"p{percentile}: {cuts[percentile - 1] * 1000:.0f} ms")
    typer.echo(f"max: {max(latencies) * 1000:.0f} ms")
    typer.echo(f"operator: {usage.ru_utime + usage.ru_stime:.1f} s of CPU")


if __name__ == "__main__":
    typer.run(main)
