"""Counts unnecessary writes of an operator: `python -m benchmarks.idle --jobs 2000 --seconds 60`.

The cluster of `KUBECONFIG` must have the CustomResourceDefinition, and should have no other operator. The benchmark
creates finished DreamBoothJobs in their own namespace and starts an operator, which reads all of them. A DreamBoothJob
whose resource version has changed at the end was written.
"""

import asyncio
import time
from typing import Annotated, Any

import typer

from benchmarks.operators import NAMESPACE, WATCHES_SECONDS, dreambooth_job, leading_operator, stage
from dreambooth_api.job import KIND
from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.names import OPERATOR

AT_ONCE = 20
ENDED = {
    "observedGeneration": 1,
    "phase": "Complete",
    "message": "The model is in folder dog of claim dog.",
    "completionTime": "2026-01-01T00:00:00Z",
    "conditions": [
        {
            "type": "Complete",
            "status": "True",
            "reason": "Complete",
            "message": "The model is in folder dog of claim dog.",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "suspendedSeconds": 0,
    "attempts": [],
    "failures": 0,
    "gpuSeconds": 0,
}


def main(
    jobs: Annotated[int, typer.Option(help="Number of finished DreamBoothJobs.", min=1)] = 10,
    seconds: Annotated[float, typer.Option(help="Seconds that the operator runs.", min=1)] = 600,
) -> None:
    """Prints how many DreamBoothJobs were written; exits with 1 if any was."""
    written = asyncio.run(measure(jobs, seconds))
    if written:
        raise typer.Exit(1)


async def measure(jobs: int, seconds: float) -> int:
    """Measures and prints; returns the number of DreamBoothJobs that were written."""
    async with stage() as (cluster, _):
        await _make_ended(cluster, jobs)
        before = await _versions(cluster)
        begun = time.monotonic()
        async with leading_operator():
            typer.echo(
                f"{jobs} DreamBoothJobs; the operator was leader after {time.monotonic() - begun - WATCHES_SECONDS:.1f} s"
            )
            await asyncio.sleep(seconds)
        after = await _versions(cluster)
    written = sum(before[name] != after.get(name) for name in before)
    typer.echo(f"{written} of {jobs} written in {seconds:.0f} s")
    return written


async def _make_ended(cluster: Cluster, jobs: int) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def make(number: int) -> None:
        async with limit:
            await cluster.write_status(await cluster.create(dreambooth_job(f"job-{number}")), ENDED, OPERATOR)

    await asyncio.gather(*(make(number) for number in range(jobs)))


async def _versions(cluster: Cluster) -> dict[str, Any]:
    items, _ = await cluster.list(KIND, NAMESPACE)
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}


if __name__ == "__main__":
    typer.run(main)
