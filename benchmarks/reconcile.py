"""Measures how long it takes from applying a DreamBoothJob until its Job exists, with an operator of its own.

    KUBECONFIG=... python -m benchmarks.reconcile --jobs 300 --rate 10

The cluster that `KUBECONFIG` names must have the CustomResourceDefinition, and should have no other operator. Everything happens
in a namespace that is deleted afterwards. Jobs begin at even distances, whatever became of those before; each is timed from the
moment its request is sent until this program's own watch sees the Job, so a slow API server counts too.
"""

import asyncio
import json
import resource
import statistics
import time
from contextlib import suppress
from typing import Annotated, Any

import typer
from kubernetes.aio import client

from benchmarks.operators import NAMESPACE, PATIENCE_SECONDS, job, leading_operator, stage
from dreambooth_operator.objects.names import LABEL_JOB

PERCENTILES = (50, 90, 99)


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
    created: dict[str, float] = {}
    applied: dict[str, float] = {}
    async with stage() as (cluster, api), leading_operator():
        watch = asyncio.create_task(_watch(api, created))
        begun = time.monotonic()
        sending = []
        for number in range(jobs):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            name = f"job-{number}"
            applied[name] = time.monotonic()
            sending.append(asyncio.create_task(cluster.create(job(name))))
        await asyncio.gather(*sending)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(created) < jobs:
                    await asyncio.sleep(0.05)
        seconds = time.monotonic() - begun
        watch.cancel()
    _report([created[name] - applied[name] for name in applied if name in created], jobs, seconds)
    return jobs - len(created)


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
