"""Captions of single photos: in the manifest, in text files next to them, and in the table of the hub's imagefolder
format. Called by `photos.py`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dreambooth_api.contradictions import caption_problems
from dreambooth_api.failures import Problem
from dreambooth_api.fields import Fields
from dreambooth_api.printing import one_line
from dreambooth_api.prompts import mentions, placeholders
from dreambooth_api.training import LONGEST_PROMPT
from dreambooth_trainer.data.folder import FIELD, Contents, listed

MAX_BYTES = 10_000_000
"""Size of a file of captions: some ten thousand of the longest ones."""

STATED = "subject.captions"
"""The field of the manifest with captions."""

COLUMNS = "text", "prompt", "caption"
"""Names that tables of captions use for the caption."""


class Captions(NamedTuple):
    """The captions of a folder's photos."""

    by_photo: dict[str, str]
    """Templates with `{identifier}` and `{class}`, or names of subjects, by the names of the photos' files."""
    problems: list[Problem]
    warnings: list[str]


class _Entry(NamedTuple):
    """A caption where it was found."""

    photo: str
    field: str
    """Where it is, for messages."""
    text: str


def read_captions(contents: Contents, fields: Fields) -> Captions:
    """The captions of the photos of a folder.

    Args:
        contents: the files of the folder.
        fields: the manifest.
    """
    found: dict[str, _Entry] = {}
    problems: list[Problem] = []
    for entry in _entries(contents, fields, problems):
        # Those of the manifest were checked with it.
        if not entry.field.startswith(f"spec.{STATED}."):
            problems += _flaws(entry, fields)
        before = found.setdefault(entry.photo, entry)
        if before.text != entry.text:
            message = f"is another caption of {entry.photo} than that of {before.field}"
            problems.append(Problem(entry.field, entry.text, message, "Keep one of them"))
    captions = {name: entry.text for name, entry in found.items()}
    if not captions and (share := fields.get("subject.captionDropout")):
        message = "has no effect, because no photo has a caption"
        problems.append(Problem("spec.subject.captionDropout", share, message, "Remove it, or write captions"))
    return Captions(captions, problems, list(_notes(contents, captions, fields)))


def _entries(contents: Contents, fields: Fields, problems: list[Problem]) -> Iterator[_Entry]:
    """All captions. Files that can't be read, and captions of photos that don't exist, are added to the problems."""
    names = {path.name for path in contents.photos}
    stated = fields.texts(STATED) if fields.get(STATED) else []
    entries = [_Entry(place.removeprefix(f"{STATED}."), f"spec.{place}", text) for place, text in stated]
    for path, photos in contents.captions.items():
        try:
            text = " ".join(_content(path).split())
            entries += [_Entry(photo, f"{FIELD}, {path.name}", text) for photo in photos]
        except (OSError, ValueError) as error:
            problems.append(_unreadable(path, str(error)))
    if contents.table:
        try:
            entries += _rows(contents.table)
        except (OSError, ValueError) as error:
            problems.append(_unreadable(contents.table, str(error)))
    for entry in entries:
        if entry.photo in names:
            yield entry
        else:
            message = f"is the caption of {one_line(entry.photo)!r}, which is no photo of the folder"
            problems.append(Problem(entry.field, entry.text, message, f"The photos are {listed(sorted(names))}"))


def _rows(table: Path) -> Iterator[_Entry]:
    """The captions of a `metadata.jsonl`.

    Raises:
        ValueError: a line is something else; the message names it.
    """
    # Other line ends than this one can be part of a text in JSON.
    for number, line in enumerate(_content(table).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is no JSON: {error}") from error
        values: Mapping[str, object] = row if isinstance(row, dict) else {}
        name, text = values.get("file_name"), next((values[column] for column in COLUMNS if column in values), None)
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError(f"line {number} has no file_name with a {' or '.join(COLUMNS)}")
        yield _Entry(name.removeprefix("./"), f"{FIELD}, {table.name}, line {number}", " ".join(text.split()))


def _content(path: Path) -> str:
    """The text of a file.

    Raises:
        OSError: it can't be read.
        ValueError: it is no text in UTF-8, no regular file, or too large to be one of captions.
    """
    if not path.is_file():
        raise ValueError("it is no regular file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES // 1_000_000} MB")
    return path.read_text("utf-8-sig")


def _unreadable(path: Path, cause: str) -> Problem:
    remedy = "Save it as text in UTF-8, or remove it"
    if path.suffix == ".jsonl":
        remedy = 'Write lines such as {"file_name": "1.jpg", "text": "a {identifier} {class} on a sofa"}, or remove it'
    return Problem(FIELD, str(path), f"can't be read as captions: {cause}", remedy)


def _flaws(entry: _Entry, fields: Fields) -> Iterator[Problem]:
    if not entry.text:
        yield Problem(entry.field, "", "is empty", "Write a caption, or remove it: the photo then has subject.prompt")
    elif len(entry.text) > LONGEST_PROMPT:
        yield Problem(entry.field, entry.text, f"has more than {LONGEST_PROMPT} characters", "Shorten it")
    else:
        yield from caption_problems(entry.field, entry.text, fields)


def _notes(contents: Contents, captions: Mapping[str, str], fields: Fields) -> Iterator[str]:
    class_ = str(fields.get("subject.class"))
    named = {"class", fields.get("subject.name")}
    without = [name for name, text in captions.items() if not placeholders(text) & named and not mentions(text, class_)]
    if without:
        yield (
            f"captions without {{class}} ({class_}): {listed(sorted(without))}. The identifier builds on what the model "
            "knows about the class, so name it"
        )
    missing = [path.name for path in contents.photos if path.name not in captions]
    if captions and missing:
        yield f"photos without a caption have subject.prompt instead: {listed(missing)}"
