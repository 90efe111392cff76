"""A connection to the namespace of a user, with the credentials of the kubeconfig or of the pod."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.config import ConfigException, list_kube_config_contexts

from dreambooth_client.cluster.streams import Streams
from dreambooth_client.errors import ClusterFailure
from dreambooth_operator.kube.client import Cluster, ClusterError

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""The file in which a pod finds the name of its namespace."""


@dataclass(frozen=True)
class Session:
    """A namespace of a cluster, and the clients of its API server."""

    cluster: Cluster
    """For requests about objects."""
    streams: Streams
    """For logs and processes in pods."""
    namespace: str
    """The namespace."""


@asynccontextmanager
async def connected(context: str | None = None, namespace: str | None = None) -> AsyncIterator[Session]:
    """Connects to a cluster.

    Args:
        context: context of the kubeconfig. Default: its current one, or the cluster of the pod.
        namespace: the namespace. Default: that of the context or of the pod, else `default`.

    Raises:
        ClusterFailure: there is no usable kubeconfig, or the API server can't be reached or refuses a request.
    """
    if not is_configured():
        raise ClusterFailure(f"no cluster: {_paths()!r} does not exist. Set KUBECONFIG to the path of a kubeconfig.")
    try:
        cluster = await Cluster.connect(context)
    except (ConfigException, OSError) as error:
        remedy = "Set KUBECONFIG to a kubeconfig, or give --context one of its contexts"
        raise ClusterFailure(f"no cluster: {error}. {remedy}.") from error
    streams = Streams(cluster.configuration)
    try:
        with explained():
            yield Session(cluster, streams, namespace or _namespace_of(context))
    finally:
        await streams.close()
        await cluster.close()


def is_configured() -> bool:
    """Whether there is a kubeconfig, or this is a pod."""
    return any(map(os.path.exists, _paths().split(os.pathsep))) or IN_CLUSTER.exists()


def _paths() -> str:
    return os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")


def _namespace_of(context: str | None) -> str:
    contexts = []
    with suppress(ConfigException, OSError):
        contexts, current = list_kube_config_contexts(os.environ.get("KUBECONFIG"))
        context = context or (current["name"] if current else None)
    found = next((one for one in contexts if one["name"] == context), None)
    if found is None and IN_CLUSTER.exists():
        return IN_CLUSTER.read_text().strip()
    return (found or {}).get("context", {}).get("namespace") or "default"


@contextmanager
def explained() -> Iterator[None]:
    """Turns failed requests into `ClusterFailure`, with what a user can do."""
    try:
        yield
    except ClusterError as error:
        raise ClusterFailure(_explanation(error)) from error


def _explanation(error: ClusterError) -> str:
    if error.status == 0:
        return f"the API server can't be reached: {error.message}. Check the network, and the kubeconfig's context."
    if error.status == 401:
        return f"the API server does not accept the credentials: {error.message}. Log in again."
    if error.status == 403:
        return f"{error.message}. Ask an administrator for this permission; the role `edit` has those of all commands."
    return error.message
