"""Makes the manifest of a DreamBoothJob from photos and a few settings, or takes one from a file, and checks it."""

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.files import expanded
from dreambooth_api.job import KIND
from dreambooth_api.training import TrainConfig
from dreambooth_api.workload import API_VERSION
from dreambooth_client.fields import merged
from dreambooth_client.manifests import Manifest, documents_of, of_kind, read_job, with_pictures_at_hand

MODEL = "hf://stable-diffusion-v1-5/stable-diffusion-v1-5"
"""The base model where none is given."""

Source = str | PathLike[str]
"""The path of a file or folder."""


class JobOptions(TypedDict, total=False):
    """What a DreamBoothJob is made of, besides its photos and the class. What is None counts as not given."""

    manifest: Source | None
    """File with a DreamBoothJob, and ConfigMaps with its photos, if it has such. The other options replace its fields."""
    name: str | None
    """Name of the DreamBoothJob. Default: that of the manifest; without one, the class and random letters."""
    model: str | None
    """Source of the base model. Default: that of the manifest, else Stable Diffusion 1.5."""
    method: str | None
    """`lora` or `full`. Default: that of the manifest, else `lora`."""
    runtime: str | None
    """The DreamBoothRuntime of the cluster. Default: that of the namespace."""
    settings: Mapping[str, Any] | None
    """Other fields of the spec: `{"training": {"steps": 400}}`."""


@dataclass(frozen=True)
class Prepared:
    """A DreamBoothJob without problems, whose pictures are on this machine."""

    job: dict[str, Any]
    """The manifest, with paths of this machine."""
    config: TrainConfig
    """The settings of the trainer, with absolute paths."""
    warnings: list[str]
    """What its author should know."""
    folder: Path
    """Where relative paths begin."""
    _staging: "tempfile.TemporaryDirectory[str] | None" = None
    """Holds photos that were given one by one, for as long as this object exists."""

    @property
    def name(self) -> str:
        """Name of the DreamBoothJob."""
        return str(self.job["metadata"]["name"])


def prepare(photos: Source | Sequence[Source] | None, class_: str | None, options: JobOptions) -> Prepared:
    """Makes a DreamBoothJob and checks it and its photos.

    Args:
        photos: a folder of photos, or photos. None: those of the manifest.
        class_: what the subject is: dog, backpack, toy. None: that of the manifest.
        options: what else is given.

    Raises:
        InvalidConfig: everything that is wrong with the options, the manifest or the photos.
    """
    manifest = options.get("manifest")
    origin = expanded(str(manifest)) if manifest is not None else Path("manifest")
    document = _document(photos, class_, options, origin)
    staging = None
    if photos is not None:
        folder, staging = _folder_of([photos] if isinstance(photos, str | PathLike) else photos)
        document = merged(document, {"spec": {"subject": {"images": {"path": str(folder)}}}})
    found = sound(read_job([document], origin))
    return Prepared(document, found.config, found.warnings, origin.parent, staging)


def sound(found: Manifest | list[Problem]) -> Manifest:
    """A manifest.

    Raises:
        InvalidConfig: it has problems.
    """
    if isinstance(found, list):
        raise InvalidConfig(found)
    return found


def _document(photos: object, class_: str | None, options: JobOptions, file: Path) -> dict[str, Any]:
    """The manifest of the options, or that of the file with the options that are given."""
    given = _without_none(
        {
            "model": {"source": options.get("model")},
            "training": {"method": options.get("method")},
            "runtime": options.get("runtime"),
            "subject": {"class": class_},
        }
    )
    name = options.get("name")
    if options.get("manifest") is not None:
        document = merged(_read(file), {"metadata": {"name": name}} if name else {})
        if photos is not None:
            document["spec"]["subject"] = {**(document["spec"].get("subject") or {}), "images": {}}
    else:
        if problems := list(_missing(photos, class_)):
            raise InvalidConfig(problems)
        name = name or f"{label(class_ or '')}-{secrets.token_hex(3)}"
        spec: dict[str, Any] = {"model": {"source": MODEL}, "training": {"method": "lora"}}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    return merged(document, {"spec": merged(given, options.get("settings") or {})})


def _missing(photos: object, class_: str | None) -> Iterator[Problem]:
    remedy = "Give photos and their class, or a manifest"
    if photos is None:
        yield Problem("photos", photos, "is missing", remedy)
    if not class_:
        yield Problem("class_", class_, "is missing", remedy)


def _read(file: Path) -> dict[str, Any]:
    """The DreamBoothJob of a file, with absolute folders of pictures instead of ConfigMaps of the same file."""
    documents = documents_of(file)
    if isinstance(documents, Problem):
        raise InvalidConfig([documents])
    found = of_kind(documents, KIND)
    if len(found) != 1:
        raise InvalidConfig(
            [Problem("manifest", str(file), f"has {len(found)} of kind {KIND}", "Give a file with one")]
        )
    document, problems = with_pictures_at_hand(found[0], documents)
    if problems:
        raise InvalidConfig(problems)
    return {**document, "spec": dict(document.get("spec") or {})}


def _folder_of(photos: Sequence[Source]) -> tuple[Path, "tempfile.TemporaryDirectory[str] | None"]:
    """The folder that is given, or a temporary one with copies of the photos that are given."""
    paths = [expanded(str(one)) for one in photos]
    if len(paths) == 1 and paths[0].is_dir():
        return paths[0].absolute(), None
    remedy = "Give one folder, or files"
    for one in paths:
        if not one.is_file():
            message = "is a folder among files" if one.is_dir() else "does not exist"
            raise InvalidConfig([Problem("photos", str(one), message, remedy)])
        if [other.name for other in paths].count(one.name) > 1:
            raise InvalidConfig([Problem("photos", one.name, "is the name of two files", "Rename one")])
    staging = tempfile.TemporaryDirectory(prefix="dreambooth-photos-")
    for one in paths:
        shutil.copyfile(one, Path(staging.name) / one.name)
    return Path(staging.name), staging


def label(text: str) -> str:
    """A text as the beginning of a name of an object."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-0123456789")[:40].strip("-") or "subject"


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without those that are None, and without sections that have no other."""
    kept = {name: _without_none(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}
