"""Base models that are themselves the models of earlier runs: a word that means a subject there is no free identifier.

Called by `prepare` and by the command line. The folder of a run tells what its model knows. A model that was copied out
of its run's folder looks like any other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from dreambooth_api.training import MOST_SUBJECTS, Subject

LONGEST = 60
"""Most characters of an identifier and of a class; see `training.Subject`."""


@dataclass(frozen=True)
class KnownSubject:
    """A subject that a model was personalised for."""

    identifier: str
    class_: str
    run: Path
    """Folder of the run."""


class _Model(BaseModel):
    source: str


class _Settings(BaseModel):
    model: _Model


class _Subject(BaseModel):
    identifier: Annotated[str, Field(max_length=LONGEST)]
    class_: Annotated[str, Field(alias="class", max_length=LONGEST)]


class _Result(BaseModel):
    """What is read of a `result.json`, whatever version wrote it."""

    identifier: str
    class_: Annotated[str, Field(alias="class")]
    subjects: Annotated[list[_Subject], Field(max_length=MOST_SUBJECTS)] = []
    settings: _Settings

    @property
    def each(self) -> list[_Subject]:
        """The subjects."""
        return self.subjects or [_Subject.model_validate({"identifier": self.identifier, "class": self.class_})]


def known_subjects(source: str) -> list[KnownSubject]:
    """The subjects that a base model was personalised for, the newest first, as far as the folders of their runs exist.

    Args:
        source: the base model: a path, or a name with a scheme, whose subjects are not known.
    """
    return list(_walk(source, frozenset()))


def _walk(source: str, seen: frozenset[Path]) -> Iterator[KnownSubject]:
    # The exported model is in RUN/model.
    run = Path(source).absolute().parent.parent
    if "://" in source or run in seen or Path(source).absolute().parent.name != "model":
        return
    try:
        result = _Result.model_validate_json((run / "result.json").read_bytes())
        subjects = result.each
    except (OSError, ValueError):
        return
    yield from (KnownSubject(one.identifier, one.class_, run) for one in subjects)
    yield from _walk(result.settings.model.source, seen | {run})


def identifier_warnings(known: Sequence[KnownSubject], subject: Subject) -> list[str]:
    """Warnings about an identifier in a model that knows subjects.

    Args:
        known: these subjects.
        subject: the subject to learn.
    """
    if not known:
        return []
    if subject.identifier == "auto":
        newest = known[0]
        return [
            f"the base model is that of the run in {newest.run}, where {newest.identifier!r} means its {newest.class_}. "
            "`auto` chooses another identifier, for another subject. To train the same subject further, set "
            f"subject.identifier to {newest.identifier}"
        ]
    return [
        f"the identifier {subject.identifier!r} means a {one.class_} in the base model, which is that of the run in "
        f"{one.run}. As a {subject.class_} it would have two meanings. Choose another identifier, or, if it is the same "
        f"subject, set subject.class to {one.class_}"
        for one in known
        if one.identifier.lower() == subject.identifier.lower() and one.class_ != subject.class_
    ]
