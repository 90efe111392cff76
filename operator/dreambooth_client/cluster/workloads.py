"""The workloads of a namespace, and the pods of their newest attempt."""

from collections.abc import Sequence

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.job import KIND
from dreambooth_client.cluster.session import Session
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.seen import Seen, Target
from dreambooth_operator.objects.folders import Folder, output_of_attempt
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABELS
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import attempt_of, index_of, is_alive, newest_job, state_of


async def read(session: Session, target: Target) -> Seen:
    """A workload.

    Raises:
        ClusterFailure: it does not exist.
    """
    found = await session.cluster.get(target.kind, session.namespace, target.name)
    if found is None:
        raise ClusterFailure(await _missing(session, target))
    return Seen(found)


async def listed(session: Session, *kinds: str, everywhere: bool = False) -> list[Seen]:
    """The workloads of the namespace, or of all namespaces, kind by kind, each by their names.

    Args:
        session: the connection.
        kinds: the kinds. Default: DreamBoothJobs, then DreamBoothScenes.
        everywhere: whether those of all namespaces are listed.
    """
    namespace = None if everywhere else session.namespace
    found = [item for kind in kinds or (KIND, SCENE_KIND) for item in (await session.cluster.list(kind, namespace))[0]]
    return [Seen(item) for item in found]


async def newest_attempt(session: Session, seen: Seen) -> Object | None:
    """The Job of the newest attempt; None before the first."""
    return newest_job(await _objects_of(session, seen, "Job"))


async def main_pod(session: Session, seen: Seen) -> Object | None:
    """The newest pod that runs, or ran, the main process of the newest attempt; None if there is none."""
    pods = [pod for pod in await _objects_of(session, seen, "Pod") if index_of(pod) in (None, "0")]
    return max(pods, key=lambda pod: (attempt_of(pod) or 0, pod["metadata"]["creationTimestamp"]), default=None)


async def output_of(session: Session, seen: Seen) -> Folder:
    """The folder of the output.

    Raises:
        ClusterFailure: no attempt has begun.
    """
    if result := seen.status.result:
        return Folder(result.claim_name, result.path)
    folder = output_of_attempt(await newest_attempt(session, seen))
    if folder is None:
        raise ClusterFailure(
            f"{seen.target} has no files: no pod of it has started. {seen.phase}: {seen.status.message}"
        )
    return folder


def is_running(pod: Object) -> bool:
    """Whether the trainer's container runs, so that processes can be started in it."""
    return is_alive(pod) and state_of(pod, "running") is not None


async def _objects_of(session: Session, seen: Seen, kind: str) -> Sequence[Object]:
    keys = LABELS[seen.target.kind]
    metadata = seen.object["metadata"]
    labels = f"{keys.name}={metadata['name']},{keys.uid}={metadata['uid']},{LABEL_ATTEMPT}"
    return (await session.cluster.list(kind, session.namespace, labels))[0]


async def _missing(session: Session, target: Target) -> str:
    others = [str(one.target) for one in await listed(session)]
    there = f"There are: {', '.join(others[:10])}" if others else "There is nothing"
    return (
        f"{target.kind} {target.name} does not exist in namespace {session.namespace}. {there}; see `dreambooth list`."
    )
