"""The log of a workload: that of the newest pod of its main process."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from dreambooth_client.cluster.session import Session
from dreambooth_client.cluster.workloads import main_pod, read
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.seen import Target
from dreambooth_operator.objects.names import CONTAINER


class Log(NamedTuple):
    """A log."""

    pod: str
    """Name of the pod."""
    pieces: AsyncIterator[bytes]
    """What its trainer has written."""


async def log_of(session: Session, target: Target, *, follow: bool = False, tail: int | None = None) -> Log:
    """The log of a workload.

    Args:
        session: the connection.
        target: the workload.
        follow: whether to wait for more until the pod ends.
        tail: only this number of lines from the end.

    Raises:
        ClusterFailure: it has no pod.
    """
    seen = await read(session, target)
    pod = await main_pod(session, seen)
    if pod is None:
        raise ClusterFailure(f"{target} has no pod. {seen.phase}: {seen.status.message or 'not seen by the operator'}")
    name = str(pod["metadata"]["name"])
    return Log(name, session.streams.log(session.namespace, name, CONTAINER, follow=follow, tail=tail))
