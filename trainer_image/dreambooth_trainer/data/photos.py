"""Finds the subject's photos in a folder, checks them, and makes training pictures of them: upright, RGB, in one size or in few.

Called by the phase `prepare`, for the training, and by the command line, for the validation. Needs only Pillow.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dreambooth_api.failures import InvalidData, Problem
from dreambooth_api.fields import Fields, OneSubject
from dreambooth_api.printing import one_line
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.data.buckets import USUAL_MULTIPLE, Size, bucket_of
from dreambooth_trainer.data.captions import read_captions
from dreambooth_trainer.data.folder import FIELD, Contents, kohya_folder, listed, read_folder
from dreambooth_trainer.data.masks import read_mask
from dreambooth_trainer.data.pictures import Unusable, open_upright
from dreambooth_trainer.data.quality import (
    JUDGED,
    Appearance,
    appearance,
    cut,
    enlarged,
    flaws,
    judged,
    near_duplicates,
    same_background,
)
from dreambooth_trainer.process.storage import digest_of, sha256_of

MOST_ENLARGED = 4
"""Photos that would have to be enlarged more times are rejected: the model would learn the blur."""


@dataclass(frozen=True)
class Photo:
    """One photo, ready for the training."""

    name: str
    """Name of its file, in printable characters."""
    digest: str
    """See `identities`."""
    caption: str | None
    """Its prompt, with the placeholders `{identifier}` and `{class}`; None for `subject.prompt`."""
    size: Size
    """Size of the upright original."""
    image: Image.Image
    """The training picture: the middle square, or the middle in the shape of its bucket."""
    mask: Image.Image | None
    """Grey, in the same size, white where the subject is; None if the whole photo counts."""


class Findings(NamedTuple):
    """Problems and warnings of a folder of photos."""

    problems: list[Problem]
    """Reasons why the photos can't be used."""
    warnings: list[str]
    """Messages for the user about photos that can be used."""


def inspect_photos(folder: Path, fields: Fields) -> Findings:
    """Checks every photo of a folder.

    Args:
        folder: folder of the photos.
        fields: the manifest. Without `training.resolution`, which the base model then defines, the size of the photos
            is not checked.
    """
    _, findings = _examine(folder, fields, fields.get("training.resolution"), USUAL_MULTIPLE)
    return findings


def load_photos(
    folder: Path, fields: Fields, resolution: int, multiple: int = USUAL_MULTIPLE
) -> tuple[list[Photo], list[str]]:
    """The photos of a folder in the order of their names, at a resolution, and warnings about them.

    Args:
        folder: folder of the photos.
        fields: the manifest.
        resolution: training resolution in pixels.
        multiple: sides of the base model's pictures are multiples of it.

    Raises:
        InvalidData: lists every file that is no usable photo.
    """
    photos, findings = _examine(folder, fields, resolution, multiple)
    if findings.problems:
        raise InvalidData(findings.problems)
    return photos, findings.warnings


def _examine(folder: Path, fields: Fields, resolution: int | None, multiple: int) -> tuple[list[Photo], Findings]:
    contents = read_folder(folder)
    captions, masks = read_captions(contents, fields), _masks(contents, fields)
    problems = [*contents.problems, *captions.problems]
    notes = [*contents.warnings, *_other_form(folder, fields), *captions.warnings]
    photos: list[Photo] = []
    appearances: list[Appearance] = []
    masked: list[str] = []
    seen: dict[bytes, str] = {}
    for path in contents.photos:
        try:
            upright = open_upright(path)
            # Without a resolution, only the shape counts.
            size = _size(upright.size, fields, resolution or JUDGED, multiple)
            if resolution is not None:
                refuse_tiny(upright, size, resolution)
            mask = None if masks is None else read_mask(path, upright.size, masks.get(path.name), size)
        except Unusable as reason:
            problems.append(Problem(FIELD, str(path), *reason.args))
            continue
        # A file name may hold any bytes except NUL and slash. The name appears in messages and in JSON.
        name, middle = one_line(path.name), judged(upright, size)
        masked += [path.name] if mask else []
        twin = seen.setdefault(hashlib.sha256(f"{upright.size}".encode() + upright.tobytes()).digest(), name)
        if twin == name:
            appearances.append(appearance(name, middle))
        else:
            notes.append(f"{name} shows the same picture as {twin}; it counts twice in training")
        notes += flaws(name, upright.size, middle, size, final=resolution is not None)
        if resolution is not None:
            caption = captions.by_photo.get(path.name)
            digest = _digest(path, caption, (masks or {}).get(path.name))
            photos.append(Photo(name, digest, caption, upright.size, cut(upright, size), mask))
    if masks is not None and contents.photos and not masked and not problems:
        message = "has no effect, because no photo is transparent anywhere, or has a mask next to it"
        remedy = "Save masks as photo.mask.png, or remove the field"
        problems.append(Problem("spec.subject.mask", "loss", message, remedy))
    notes += [*near_duplicates(appearances), *_notes_on_masks(contents, None if masks is None else masked)]
    return photos, Findings(problems, [*notes, *([] if masked else same_background(appearances))])


def _size(photo: Size, fields: Fields, resolution: int, multiple: int) -> Size:
    """Size of the training picture of a photo."""
    if fields.get("subject.crop") == "none":
        return bucket_of(photo, resolution, multiple)
    return resolution, resolution


def _masks(contents: Contents, fields: Fields) -> Mapping[str, Path] | None:
    """Masks by the names of their photos; None if masks have no effect."""
    return contents.masks if fields.get("subject.mask") == "loss" else None


def _notes_on_masks(contents: Contents, masked: Collection[str] | None) -> Iterator[str]:
    """Warnings about masks that are not used, and about photos without one.

    Args:
        contents: the files of the folder.
        masked: names of the photos with a mask; None if masks are not used.
    """
    if masked is None:
        if contents.masks:
            names = listed(sorted({path.name for path in contents.masks.values()}))
            yield f"masks are not used: {names}. Set subject.mask to loss to learn the subject without its background"
    elif missing := [path.name for path in contents.photos if path.name not in masked]:
        yield f"photos without a mask are learned with their background: {listed(missing)}"


def identities(folder: Path, fields: Fields) -> dict[str, str]:
    """What the training learns of each photo, by name: the SHA-256 of its file, or of file, caption and mask."""
    contents = read_folder(folder)
    captions, masks = read_captions(contents, fields).by_photo, _masks(contents, fields) or {}
    return {path.name: _digest(path, captions.get(path.name), masks.get(path.name)) for path in contents.photos}


def find_shared_photos(config: TrainConfig) -> list[Problem]:
    """Finds photos that two subjects have with the same caption, or without one: the model could not tell these apart.

    Args:
        config: valid settings, with absolute paths.
    """
    problems: list[Problem] = []
    owners: dict[str, OneSubject] = {}
    for one in Fields(config.model_dump(by_alias=True), ()).each_subject():
        if (folder := one.fields.get("subject.images.path")) is None:
            continue
        for name, digest in identities(Path(folder), one.fields).items():
            owner = owners.setdefault(digest, one)
            if owner.place != one.place:
                message = f"is also a photo of the subject {owner.name}"
                remedy = "Remove it from one of them, or write captions that tell what it shows of each"
                problems.append(Problem(f"spec.{one.place}.images", one_line(name), message, remedy))
    return problems


def _digest(photo: Path, caption: str | None, mask: Path | None) -> str:
    content = sha256_of(photo)
    return content if caption is None and mask is None else digest_of([content, caption, mask and sha256_of(mask)])


def _other_form(folder: Path, fields: Fields) -> list[str]:
    """A warning if the name of the folder says, in another program's form, something else than the manifest."""
    form = kohya_folder(folder.absolute().name)
    told = form and (form.identifier or fields.get("subject.identifier"), form.class_)
    if form is None or told == (fields.get("subject.identifier"), fields.get("subject.class")):
        return []
    name = folder.absolute().name
    return [f"the name {name!r} is that of a folder for kohya's scripts ({form}), and is not read here. {form.remedy}"]


def refuse_tiny(image: Image.Image, size: Size, resolution: int) -> None:
    """Checks the size of a picture.

    Args:
        image: the picture.
        size: size of its training picture.
        resolution: the training resolution.

    Raises:
        Unusable: the picture is too small.
    """
    if enlarged(image.size, size) > MOST_ENLARGED:
        raise Unusable(
            f"is only {image.width}x{image.height} for a training resolution of {resolution}",
            "Give a larger photo, or lower training.resolution",
        )
