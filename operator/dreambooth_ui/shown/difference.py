"""What differs between two jobs."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.criteria import CRITERIA

NOTHING = "-"
"""Stands for a value that one of two jobs does not have."""


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The settings of the training that differ between two specs, defaults included: path and both values."""
    first, second = dict(_fields(_with_defaults(one), "")), dict(_fields(_with_defaults(other), ""))
    paths = list(dict.fromkeys([*first, *second]))
    rows = [(path, first.get(path, NOTHING), second.get(path, NOTHING)) for path in paths]
    return [row for row in rows if row[1] != row[2]]


def _with_defaults(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the trainer in a spec; as they are, if another version wrote what this one can't read."""
    names = {field.alias or name for name, field in TrainConfig.model_fields.items()}
    settings = {name: value for name, value in spec.items() if name in names}
    try:
        return TrainConfig.model_validate(settings).model_dump(mode="json", by_alias=True, exclude_none=True)
    except ValidationError:
        return settings


def _fields(section: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


def side_by_side(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> list[tuple[str, str, str]]:
    """The figures of two jobs that have a goal."""
    fields = {criterion.title: to_camel(criterion.field) for criterion in CRITERIA}
    return [
        (title, figure(one.get(field)), figure(other.get(field)))
        for title, field in fields.items()
        if field in one or field in other
    ]


def figure(value: float | None) -> str:
    """A figure of an evaluation."""
    return NOTHING if value is None else f"{value:.3f}"
