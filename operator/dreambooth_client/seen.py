"""A workload as users see it: by name, with its status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from dreambooth_api.dreamboothscene import SCENE_KIND, SCENE_PLURAL
from dreambooth_api.job import KIND, PLURAL
from dreambooth_api.status import DreamBoothJobStatus, DreamBoothSceneStatus
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import time_of

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
