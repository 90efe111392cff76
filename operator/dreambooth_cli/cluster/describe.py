"""`dreambooth describe`: everything about one workload that its user wants to know."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dreambooth_cli.cluster.options import Answer, Context, Name, Namespace, in_cluster, show, target_or_exit
from dreambooth_cli.output import say

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.seen import Seen


def describe(name: Name, output: Answer = None, context: Context = None, namespace: Namespace = None) -> None:
    """Describe a DreamBoothJob or DreamBoothScene: state, progress, attempts, result."""
    target = target_or_exit(name)

    async def work(session: "Session") -> None:
        from dreambooth_client.cluster.workloads import read

        seen = await read(session, target)
        if output:
            show(output, [seen])
            return
        for label, text in lines(seen, datetime.now(UTC)):
            say(f"{label + ':' if label else '':<14}{text}")

    in_cluster(context, namespace, work)


def lines(seen: "Seen", now: datetime) -> Iterator[tuple[str, str]]:
    """Labels and texts; a text without a label continues the one before."""
    from dreambooth_api.status import JobResult
    from dreambooth_client.words import brief

    status = seen.status
    yield "Name", str(seen.target)
    yield "Phase", seen.phase + (f" ({seen.reason})" if seen.reason else "")
    if status.message:
        yield "Message", status.message
    if seen.created:
        yield "Age", brief((now - seen.created).total_seconds())
    if status.runtime:
        yield "Runtime", status.runtime
    if status.gpu_seconds:
        yield "GPU time", brief(status.gpu_seconds)
    if name := seen.spec.get("jobName"):
        yield "Job", name
    if model := seen.spec.get("model"):
        yield "Model", model["source"]
    yield from _progress(seen)
    for number, attempt in enumerate(status.attempts):
        ended = f"{attempt.reason}: {attempt.message}" if attempt.reason else "running"
        yield "Attempts" if number == 0 else "", f"{attempt.number}  {ended}"
    if result := status.result:
        yield "Claim", result.claim_name
        yield "Folder", result.path
        if figures := result.figures if isinstance(result, JobResult) else {}:
            yield "Figures", "  ".join(f"{key} {value}" for key, value in figures.items() if value is not None)


def _progress(seen: "Seen") -> Iterator[tuple[str, str]]:
    from dreambooth_client.words import details

    progress = seen.status.progress
    if progress is None:
        return
    parts = [progress.phase, f"{progress.percent} %", *details(seen)]
    yield "Progress", "  ".join(part for part in parts if part)
    if progress.identifier:
        yield "Identifier", progress.identifier
    if progress.device:
        yield "Device", progress.device
    for number, warning in enumerate(progress.warnings):
        yield "Warnings" if number == 0 else "", warning
