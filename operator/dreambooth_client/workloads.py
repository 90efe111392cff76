"""The workloads of a namespace as users see them: by name, with their status, and with the pods of their newest attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from dreambooth_api.dreamboothscene import SCENE_KIND, SCENE_PLURAL
from dreambooth_api.job import KIND, PLURAL
from dreambooth_api.status import DreamBoothJobStatus, DreamBoothSceneStatus
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.session import Session
from dreambooth_operator.objects.folders import Folder, output_of_attempt
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABELS
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import attempt_of, index_of, is_alive, newest_job, state_of, time_of

ENDED = "Complete", "Failed"
"""Phases after which nothing changes."""
KINDS = {
    **dict.fromkeys(("job", "dbj", KIND.lower(), PLURAL), KIND),
    **dict.fromkeys(("scene", "dbs", SCENE_KIND.lower(), SCENE_PLURAL), SCENE_KIND),
}
"""What may precede a name, as in `scene/beach`."""
_STATUSES: Mapping[str, type[DreamBoothJobStatus | DreamBoothSceneStatus]] = {
    KIND: DreamBoothJobStatus,
    SCENE_KIND: DreamBoothSceneStatus,
}


class Target(NamedTuple):
    """A workload by its kind and name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"scene/{self.name}" if self.kind == SCENE_KIND else self.name


def target_of(text: str) -> Target:
    """The workload that a text names: `rex` and `job/rex` are DreamBoothJobs, `scene/beach` is a DreamBoothScene.

    Raises:
        ValueError: it names none.
    """
    prefix, slash, name = text.rpartition("/")
    kind = KINDS.get(prefix.lower()) if slash else KIND
    if kind is None or not name:
        raise ValueError(f"{text!r} names no workload. Give NAME for a DreamBoothJob, scene/NAME for a DreamBoothScene")
    return Target(kind, name)


@dataclass(frozen=True)
class Seen:
    """A workload as the API server has it."""

    object: Object

    @property
    def target(self) -> Target:
        """Its kind and name."""
        return Target(self.object["kind"], self.object["metadata"]["name"])

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec."""
        spec: Mapping[str, Any] = self.object["spec"]
        return spec

    @property
    def created(self) -> datetime | None:
        """When it was created."""
        return time_of(self.object["metadata"]["creationTimestamp"])

    @cached_property
    def status(self) -> DreamBoothJobStatus | DreamBoothSceneStatus:
        """Its status; an empty one before the operator has written it, and if another version wrote what this one can't read."""
        model = _STATUSES[self.object["kind"]]
        try:
            return model.model_validate(self.object.get("status") or {})
        except ValidationError:
            return model()

    @property
    def phase(self) -> str:
        """Its phase; `Pending` before the operator has seen it."""
        return self.status.phase or "Pending"

    @property
    def has_ended(self) -> bool:
        """Whether it is complete or has failed."""
        return self.phase in ENDED

    @property
    def reason(self) -> str | None:
        """Why it has failed, in CamelCase; None if it has not."""
        failed = (one for one in self.status.conditions if one.type == "Failed" and one.status == "True")
        return next((one.reason for one in failed), None)


async def read(session: Session, target: Target) -> Seen:
    """A workload.

    Raises:
        ClusterFailure: it does not exist.
    """
    found = await session.cluster.get(target.kind, session.namespace, target.name)
    if found is None:
        raise ClusterFailure(await _missing(session, target))
    return Seen(found)


async def listed(session: Session, *, everywhere: bool = False) -> list[Seen]:
    """The workloads of the namespace, or of all namespaces: DreamBoothJobs, then DreamBoothScenes, each by their names."""
    namespace = None if everywhere else session.namespace
    found = [item for kind in (KIND, SCENE_KIND) for item in (await session.cluster.list(kind, namespace))[0]]
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
