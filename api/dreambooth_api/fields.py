"""The fields of a manifest, valid or not, as rules over several fields read them. Used by `contradictions.py`, and by whatever
inspects the files that a manifest names."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dreambooth_api.failures import Problem
from dreambooth_api.training import Images, Model, Subject, TrainConfig

DEFAULTS: Mapping[str, Any] = TrainConfig.model_construct(
    model=Model.model_construct(), subject=Subject.model_construct(images=Images())
).model_dump(by_alias=True)
"""Defaults of all fields that have one."""


class NoValidValue(LookupError):
    """A field has no valid value that a rule could read."""


class Fields:
    """The fields of a `spec` by their path (`training.steps`), defaults included."""

    def __init__(self, spec: Mapping[str, Any], invalid: Collection[str]) -> None:
        """Takes the `spec` and the paths of the fields that are missing or invalid by themselves."""
        self._spec = spec
        self._invalid = invalid

    def __getitem__(self, path: str) -> Any:
        """Value of a field, or its default."""
        value: Any = self._spec
        default: Any = DEFAULTS
        walked = "spec"
        for name in path.split("."):
            walked += f".{name}"
            if walked in self._invalid:
                raise NoValidValue(walked)
            # An optional section may be missing.
            default = (default or {}).get(name)
            value = default if value is None else value.get(name, default)
        return value

    def get(self, path: str) -> Any:
        """Value of a field, or its default; None where it is missing or invalid."""
        try:
            return self[path]
        except NoValidValue:
            return None

    def given(self, path: str) -> bool:
        """Whether the field has another value than its default, which the API server fills in."""
        node: Any = self._spec
        default: Any = DEFAULTS
        for name in path.split("."):
            if not isinstance(node, Mapping) or name not in node:
                return False
            node, default = node[name], (default or {}).get(name)
        return node is not None and not _equals_default(node, default)

    def each_subject(self) -> "list[OneSubject]":
        """The subjects, as far as they are sections."""
        if (several := self._spec.get("subjects")) is None:
            several, places = [self._spec.get("subject")], ["subject"]
        else:
            several = several if isinstance(several, list) else []
            places = [f"subjects[{number}]" for number in range(len(several))]
        return [
            OneSubject(
                place,
                Fields({**self._spec, "subject": one}, {_moved(field, place, "subject") for field in self._invalid}),
            )
            for place, one in zip(places, several, strict=True)
            if isinstance(one, Mapping)
        ]

    def texts(self, path: str) -> list[tuple[str, str]]:
        """Valid entries of a list or mapping of texts, or the one text, each with its path."""
        value = self[path]
        if isinstance(value, str):
            return [(path, value)]
        if isinstance(value, Mapping):
            entries = [(f"{path}.{name}", entry) for name, entry in value.items()]
        else:
            entries = [(f"{path}[{index}]", entry) for index, entry in enumerate(value)]
        return [(place, entry) for place, entry in entries if f"spec.{place}" not in self._invalid]


class OneSubject(NamedTuple):
    """A subject of a manifest."""

    place: str
    """Its field: `subject`, or `subjects[0]` and so on."""
    fields: Fields
    """The manifest of a run of this subject alone, as `subject`."""

    @property
    def name(self) -> str:
        """Its name among several subjects; empty for the only one."""
        name = self.fields.get("subject.name") if self.place != "subject" else None
        return name if isinstance(name, str) else ""

    def placed(self, problems: Iterable[Problem]) -> list[Problem]:
        """Problems of `fields`, with the fields of the manifest itself."""
        return [replace(one, field=_moved(one.field, "subject", self.place)) for one in problems]

    def named(self, warnings: Iterable[str]) -> list[str]:
        """Warnings about the subject, with its name."""
        return [f"{self.name}: {warning}" if self.name else warning for warning in warnings]


def _moved(field: str, place: str, to: str) -> str:
    """The path of a field in another section, if it is in a section."""
    section, rest = f"spec.{place}", field.removeprefix(f"spec.{place}")
    inside = field.startswith(section) and (not rest or rest[0] in ".,[")
    return f"spec.{to}{rest}" if inside else field


def _equals_default(value: Any, default: Any) -> bool:
    """Whether a value, or each part of it that is given, equals the default."""
    if isinstance(value, Mapping) and isinstance(default, Mapping):
        return all(_equals_default(entry, default.get(name)) for name, entry in value.items())
    return bool(value == default)
