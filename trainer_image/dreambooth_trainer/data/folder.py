"""Sorts the files of a folder of photos: photos, their captions and masks, files that other programs put next to them, and
mistakes.

Only the names of files count here; `pictures.py` opens the photos. Called by `photos.py`, and by `pipeline.py`, which
identifies a run by its photos.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dreambooth_api.failures import Problem
from dreambooth_api.printing import one_line
from dreambooth_trainer.data.pictures import RAW

FIELD = "spec.subject.images"
"""The field of the manifest that the photos belong to."""

WANTED = "three to five photos of the subject"
"""What belongs into its folder."""

SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
"""Files that Windows and macOS put into folders, in lower case. Further ones are hidden."""

COMPANIONS = {".aae", ".json", ".m4v", ".mov", ".mp4", ".thm", ".xmp", ".yaml", ".yml"}
"""Endings of files next to photos: edits and metadata of phones and programs, videos of live photos, previews of videos,
and manifests."""

PHOTOS = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
"""Usual endings of photos, by which photos in sub-folders are found. In the folder itself, every other file counts as a
photo, whatever its name."""

CAPTIONS = {".txt", ".caption"}
"""Endings of files with the caption of the photo of the same name."""

MASK = ".mask.png"
"""End of the name of a mask: `a.mask.png` is that of `a.jpg`."""

TABLE = "metadata.jsonl"
"""File with the captions of all photos, in the hub's imagefolder format."""

SHOWN = 8
"""Names that a message lists."""


class Contents(NamedTuple):
    """The files of a folder of photos."""

    photos: list[Path]
    """By their names."""
    captions: dict[Path, list[str]]
    """Files with a caption, each with the names of its photos."""
    table: Path | None
    """The file with captions of several photos."""
    masks: dict[str, Path]
    """Masks by the names of their photos."""
    problems: list[Problem]
    """Mistakes that prevent a training."""
    warnings: list[str]


def read_folder(folder: Path, field: str = FIELD, wanted: str = WANTED) -> Contents:
    """Sorts the files of a folder. Names that begin with two dots are ignored: the kubelet uses them in volumes.

    Args:
        folder: the folder.
        field: the field of the manifest that names it.
        wanted: what belongs there.
    """
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".."))
        files = [path for path in entries if not path.is_dir()]
    except OSError as error:
        message = f"can't be read: {error.strerror}"
        problem = Problem(field, str(folder), message, "Give the path of a folder with photos")
        return Contents([], {}, None, {}, [problem], [])
    kinds: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        kinds[_kind(path)].append(path)
    photos = list(_without_raw_twins(kinds["photo"]))
    captions = {path: _owners(path.stem, photos) for path in kinds["caption"]}
    masks = {path: _owners(path.name[: -len(MASK)], photos) for path in kinds["mask"]}
    problems = [
        *_without_owner(field, captions, "is no picture, and the caption of none"),
        *_without_owner(field, masks, "is the mask of no photo"),
    ]
    skipped = listed(path.name for path in files if path in kinds["stray"] or path in {*kinds["photo"]} - {*photos})
    notes = [f"skipped, since they are no photos: {skipped}"] if skipped else []
    below = [path for path in entries if path.is_dir() and not path.name.startswith(".") and _holds_photos(path)]
    if not photos:
        return Contents([], {}, None, {}, [*problems, _no_photo(folder, below, skipped, field, wanted)], notes)
    if below:
        folders = listed(path.name for path in below)
        notes.append(f"photos in sub-folders are not used: {folders}. Move those of the subject into the folder itself")
    mask_of = {name: path for path, names in masks.items() for name in names}
    return Contents(photos, captions, next(iter(kinds["table"]), None), mask_of, problems, notes)


def listed(names: Iterable[str]) -> str:
    """The first of some names, in printable characters, and how many more there are."""
    shown = [one_line(name) for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more


class KohyaFolder(NamedTuple):
    """What the name of a folder says in kohya's scripts: `10_sks dog`."""

    repeats: int
    identifier: str | None
    """None for a folder of class images (`1_dog`)."""
    class_: str

    def __str__(self) -> str:
        """The parts in words."""
        word = f"identifier {self.identifier!r}, " if self.identifier else ""
        return f"{self.repeats} repeats, {word}class {self.class_!r}"

    @property
    def remedy(self) -> str:
        """How a manifest says the same."""
        word = f"subject.identifier to {self.identifier!r} and " if self.identifier else ""
        return (
            f"Set {word}subject.class to {self.class_!r}; there are no repeats, since each photo is used equally often "
            "in training.steps"
        )


def kohya_folder(name: str) -> KohyaFolder | None:
    """The parts of the name of a folder in the form of kohya's scripts; None for other names."""
    found = re.fullmatch(r"(\d{1,3})_(?:(\S+) )?(\S.*)", name)
    return KohyaFolder(int(found[1]), found[2], found[3]) if found else None


def _kind(path: Path) -> Literal["stray", "caption", "mask", "table", "photo"]:
    """What a file is, by its name: a photo, if nothing else."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if name.startswith(".") or name in SYSTEM_FILES or suffix in COMPANIONS:
        return "stray"
    if suffix in CAPTIONS:
        return "caption"
    if name.endswith(MASK):
        return "mask"
    return "table" if name == TABLE else "photo"


def _without_raw_twins(photos: Sequence[Path]) -> Iterator[Path]:
    """Photos without the raw files of which there is also a picture of the same name."""
    stems = {path.stem for path in photos if path.suffix.lower() not in RAW}
    return (path for path in photos if path.suffix.lower() not in RAW or path.stem not in stems)


def _owners(name: str, photos: Sequence[Path]) -> list[str]:
    """Names of the photos to which a file belongs: it is named after them, with or without their endings."""
    return [photo.name for photo in photos if name in (photo.stem, photo.name)]


def _without_owner(field: str, owners: Mapping[Path, Sequence[str]], message: str) -> list[Problem]:
    remedy = "Name it after its photo, or remove it"
    return [Problem(field, str(path), message, remedy) for path, names in owners.items() if not names]


def _holds_photos(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in PHOTOS | RAW and not path.name.startswith(".") for path in folder.iterdir())
    except OSError:
        return False


def _no_photo(folder: Path, below: list[Path], skipped: str, field: str, wanted: str) -> Problem:
    """The problem of a folder without photos, whose sub-folders may have some."""
    if not below:
        message = f"holds no photo, but only {skipped}" if skipped else "holds no photo"
        return Problem(field, str(folder), message, f"Put {wanted} there")
    names = listed(path.name for path in below)
    message = f"holds no photo itself, but in sub-folders: {names}"
    remedy = f"Give the path of the right one, such as {folder / below[0].name}"
    if field == FIELD and (form := kohya_folder(below[0].name)):
        message += f". The name is that of a folder for kohya's scripts: {form}"
        remedy += f". {form.remedy}"
    return Problem(field, str(folder), message, remedy)
