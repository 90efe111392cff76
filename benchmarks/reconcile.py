"""Measures the time from the creation of a DreamBoothJob to the creation of its Job, with its own operator.

    KUBECONFIG=... python -m benchmarks.reconcile --jobs 300 --rate 10
    KUBECONFIG=... python -m benchmarks.reconcile --jobs 1000 --rate 1000 --namespaces 20

The cluster of `KUBECONFIG` must have the CustomResourceDefinition, and should have no other operator. The benchmark
uses namespaces that it deletes at the end. It creates DreamBoothJobs at equal intervals, in each namespace in turn,
without waiting for earlier ones. The time of each goes from the request until this program's own watch receives the Job,
so it includes the time of a slow API server. The CPU times are those of the same period; the API server reports its own.
"""

import asyncio
import json
import os
import statistics
import time
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

import psutil
import typer
from kubernetes.aio import client

from benchmarks.operators import NAMESPACE, PATIENCE_SECONDS, dreambooth_job, leading_operator, stage
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Key

PERCENTILES = (50, 90, 99)


class Usage(NamedTuple):
    """CPU time in seconds."""

    operator: float
    api_server: float


def main(
    jobs: Annotated[int, typer.Option(help="Number of DreamBoothJobs.", min=2)] = 300,
    rate: Annotated[float, typer.Option(help="DreamBoothJobs per second.", min=0.1)] = 10,
    namespaces: Annotated[int, typer.Option(help="Number of namespaces.", min=1)] = 1,
) -> None:
    """Prints the percentiles; exits with 1 if a Job is missing at the end."""
    missing = asyncio.run(measure(jobs, rate, [f"{NAMESPACE}-{number}" for number in range(namespaces)]))
    if missing:
        raise typer.Exit(1)


async def measure(jobs: int, rate: float, namespaces: list[str]) -> int:
    """Measures and prints; returns the number of DreamBoothJobs without a Job."""
    created: dict[Key, float] = {}
    applied: dict[Key, float] = {}
    async with stage(namespaces) as (cluster, api), leading_operator(namespaces=namespaces) as operator:
        watch = asyncio.create_task(_watch(api, created))
        before, begun = await _usage(operator.pid, api), time.monotonic()
        sending = []
        for number in range(jobs):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            key = Key(namespaces[number % len(namespaces)], f"job-{number}")
            applied[key] = time.monotonic()
            sending.append(asyncio.create_task(cluster.create(dreambooth_job(key.name, key.namespace))))
        await asyncio.gather(*sending)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(applied.keys() & created.keys()) < jobs:
                    await asyncio.sleep(0.05)
        seconds, after = time.monotonic() - begun, await _usage(operator.pid, api)
        watch.cancel()
    latencies = [created[key] - applied[key] for key in applied if key in created]
    _report(latencies, jobs, seconds)
    typer.echo(f"CPU time: operator {after.operator - before.operator:.1f} s, ", nl=False)
    typer.echo(f"API server {after.api_server - before.api_server:.1f} s; load average {os.getloadavg()[0]:.1f}")
    return jobs - len(latencies)


async def _watch(api: client.ApiClient, created: dict[Key, float]) -> None:
    """Records the time at which the watch first receives the Job of each DreamBoothJob."""
    query = [("watch", "true"), ("labelSelector", LABEL_JOB)]
    path = "/apis/batch/v1/jobs"
    prepared = await api.param_serialize("GET", path, query_params=query, auth_settings=["BearerToken"])
    answer = await api.call_api(*prepared, _request_timeout=3600)
    async for line in answer.response.content:
        event: dict[str, Any] = json.loads(line)
        if event["type"] == "ADDED":
            metadata = event["object"]["metadata"]
            created.setdefault(Key(metadata["namespace"], metadata["labels"][LABEL_JOB]), time.monotonic())


async def _usage(operator: int, api: client.ApiClient) -> Usage:
    times = psutil.Process(operator).cpu_times()
    prepared = await api.param_serialize("GET", "/metrics", auth_settings=["BearerToken"])
    text = await (await api.call_api(*prepared)).response.text()
    own = next(line for line in text.splitlines() if line.startswith("process_cpu_seconds_total "))
    return Usage(times.user + times.system, float(own.split()[1]))


def _report(latencies: list[float], jobs: int, seconds: float) -> None:
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    typer.echo(f"{len(latencies)} of {jobs} Jobs in {seconds:.1f} s ({jobs / seconds:.1f} a second)")
    for percentile in PERCENTILES:
        typer.echo(f"p{percentile}: {cuts[percentile - 1] * 1000:.0f} ms")
    typer.echo(f"max: {max(latencies) * 1000:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
