"""Parses the status of a workload; invalid content can't stop the operator."""

from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.status import DreamBoothJobStatus, DreamBoothSceneStatus
from dreambooth_operator.objects.observed import Object


def stored_status(owner: Object) -> DreamBoothJobStatus | DreamBoothSceneStatus:
    """The status of a workload without invalid fields, which another version of the operator or a user may have written."""
    model, stored = _model(owner), deepcopy(owner.get("status")) or {}
    while True:
        try:
            return model.model_validate(stored, by_alias=True, by_name=False)
        except ValidationError as error:
            places = [details["loc"] for details in error.errors(include_url=False)]
            if not all(places):
                return model()
            _remove(stored, places)


def unknown_fields(owner: Object) -> dict[str, Any]:
    """The fields of a status that a newer version of the operator has written; they are kept."""
    known = {field.alias for field in _model(owner).model_fields.values()}
    return {name: value for name, value in (owner.get("status") or {}).items() if name not in known}


def _model(owner: Object) -> type[DreamBoothJobStatus] | type[DreamBoothSceneStatus]:
    return DreamBoothSceneStatus if owner.get("kind") == SCENE_KIND else DreamBoothJobStatus


def _remove(stored: Any, places: list[tuple[int | str, ...]]) -> None:
    """Removes invalid entries of lists, and other invalid top-level fields as a whole."""
    entries = {place[:2] for place in places if len(place) > 1 and isinstance(place[1], int)}
    fields = {place[0] for place in places if len(place) == 1 or not isinstance(place[1], int)}
    for field in fields:
        stored.pop(field, None)
    for field, index in sorted(entries, key=lambda entry: int(entry[1]), reverse=True):
        if field in stored:
            del stored[field][index]
