"""The parts of a run that can be copied by themselves."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum


class Part(StrEnum):
    """Parts of a run."""

    MODEL = "model"
    SAMPLES = "samples"
    REPORT = "report"


PARTS: Mapping[Part, Sequence[str]] = {
    Part.MODEL: ("model",),
    Part.SAMPLES: ("samples", "samples-on-the-way"),
    Part.REPORT: ("report.html", "result.json", "losses.jsonl", "state"),
}
"""The files and folders of each part."""
LAST = "COMPLETE"
"""The file that says that all others are there."""


def chosen(paths: Sequence[str], parts: Collection[Part]) -> list[str]:
    """The files of some parts, with the mark of a complete run at the end, if all parts are wanted.

    Args:
        paths: files, relative to the folder of a run.
        parts: the parts.
    """
    names = {name for part in parts for name in PARTS[part]}
    found = [one for one in paths if one.split("/")[0] in names]
    return found + [one for one in paths if one == LAST and set(parts) == set(Part)]
