"""Measures the time from the creation of a DreamBoothJob to the creation of its Job, with its own operator.

    KUBECONFIG=... python -m benchmarks.reconcile --jobs 300 --rate 10

The cluster of `KUBECONFIG` must have the CustomResourceDefinition, and should have no other operator. The benchmark
uses a namespace that it deletes at the end. It creates DreamBoothJobs at equal intervals, without waiting for earlier
ones. The time of each goes from the request until this program's own watch receives the Job, so it includes the time of
a slow API server.
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

from benchmarks.operators import NAMESPACE, PATIENCE_SECONDS, dreambooth_job, leading_operator, stage
from dreambooth_operator.objects.names import LABEL_JOB

PERCENTILES = (50, 90, 99)


def main(
    jobs: Annotated[int, typer.Option(help="Number of DreamBoothJobs.", min=2)] = 300,
    rate: Annotated[float, typer.Option(help="DreamBoothJobs per second.", min=0.1)] = 10,
) -> None:
    """Prints the percentiles; exits with 1 if a Job is missing at the end."""
    missing = asyncio.run(measure(jobs, rate))
    if missing:
        raise typer.Exit(1)


async def measure(jobs: int, rate: float) -> int:
    """Measures and prints; returns the number of DreamBoothJobs without a Job."""
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
            sending.append(asyncio.create_task(cluster.create(dreambooth_job(name))))
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
    """Records the time at which the watch first receives the Job of each DreamBoothJob."""
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
