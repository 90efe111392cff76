"""Follows a workload until it has ended."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from dreambooth_client.cluster.session import Session
from dreambooth_client.cluster.workloads import read
from dreambooth_client.seen import Seen, Target
from dreambooth_operator.kube.client import ClusterError

SECONDS = 1.0
"""Time between two requests."""
OUTAGE_SECONDS = 300.0
"""Longest outage of the API server or of the network that is waited for: a training takes longer than many connections last."""


async def followed(session: Session, target: Target, report: Callable[[str], None]) -> AsyncIterator[Seen]:
    """A workload as it is now, again and again, last when it has ended.

    Args:
        session: the connection.
        target: the workload.
        report: called when an outage begins.

    Raises:
        ClusterFailure: the workload does not exist, or does not exist any more.
        ClusterError: the API server refuses, or the outage lasts longer than `OUTAGE_SECONDS`.
    """
    # The first request says what is wrong at once.
    seen, outage_since = await read(session, target), None
    while True:
        if outage_since is None:
            yield seen
            if seen.has_ended:
                return
        await asyncio.sleep(SECONDS)
        try:
            seen, outage_since = await read(session, target), None
        except ClusterError as error:
            if not _is_outage(error) or (outage_since and time.monotonic() > outage_since + OUTAGE_SECONDS):
                raise
            if outage_since is None:
                report(f"the API server does not answer; waiting up to {OUTAGE_SECONDS:.0f} s: {error.message}")
                outage_since = time.monotonic()


def _is_outage(error: ClusterError) -> bool:
    return error.status == 0 or error.status == 429 or error.status >= 500
