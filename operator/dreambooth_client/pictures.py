"""Where the spec of a DreamBoothJob names pictures."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class Pictures(NamedTuple):
    """Pictures that a DreamBoothJob names."""

    field: str
    """The field of the spec."""
    suffix: str
    """What follows the name of the DreamBoothJob in the name of their ConfigMap; the name of their folder on this machine."""

    @property
    def key(self) -> str:
        """The field of the section that has them."""
        return self.field.rpartition(".")[2]


def sections_with_pictures(spec: dict[str, Any]) -> Iterator[tuple[Pictures, dict[str, Any]]]:
    """The sections of a spec that may name pictures."""
    yield Pictures("subject.images", "photos"), spec.get("subject") or {}
    for number, one in enumerate(spec.get("subjects") or ()):
        yield Pictures(f"subjects[{number}].images", f"photos-{one['name']}"), one
    yield Pictures("prior.source", "class-images"), spec.get("prior") or {}
