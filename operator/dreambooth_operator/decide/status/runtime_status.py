"""Composes the status of a DreamBoothRuntime."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dreambooth_api.runtime import DreamBoothRuntimeStatus
from dreambooth_api.runtime_rules import validate_runtime
from dreambooth_operator.decide.status.conditions import find, updated
from dreambooth_operator.decide.status.reasons import SOUND, Reason
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import generation_of

INVALID_RUNTIME = Reason(
    "InvalidRuntime",
    "Pending",
    None,
    "{problems} Correct it, or upgrade the operator if the runtime is written for a newer version. DreamBoothJobs that use the "
    "runtime wait until then; running ones continue.",
)


def status_of_runtime(runtime: Object, now: datetime) -> Mapping[str, Any]:
    """The status of a runtime; it equals the previous one if nothing changed. Conditions of other types are kept.

    Args:
        runtime: the DreamBoothRuntime as an object of the API server.
        now: the time of transitions.
    """
    before, generation = _stored(runtime), generation_of(runtime)
    spec, problems = validate_runtime(runtime)
    finding = SOUND() if spec else INVALID_RUNTIME(problems=" ".join(map(str, problems)))
    accepted = updated(
        find(before.conditions, "Accepted"),
        "Accepted",
        spec is not None,
        finding,
        generation,
        now.replace(microsecond=0),
    )
    others = [one for one in before.conditions if one.type != "Accepted"]
    status = DreamBoothRuntimeStatus(observed_generation=generation, conditions=[accepted, *others])
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _stored(runtime: Object) -> DreamBoothRuntimeStatus:
    """The status of a runtime; an empty one if it is invalid."""
    try:
        return DreamBoothRuntimeStatus.model_validate(runtime.get("status") or {}, by_alias=True, by_name=False)
    except ValidationError:
        return DreamBoothRuntimeStatus()
