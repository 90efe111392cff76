"""The subject's photos: found in a folder, judged, and made upright, square and RGB.

Called by the phase `prepare`, which trains on them, and by the command line, which judges them. Needs Pillow alone.
"""

import hashlib
import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pillow_heif
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from dreambooth_api.failures import InvalidData, Problem
from dreambooth_api.printing import one_line
from dreambooth_trainer.process.storage import sha256_of

FIELD = "spec.subject.images"
"""The field of the manifest that the photos belong to."""

MAX_MEGAPIXELS = 100
"""Larger pictures are refused before they are decoded: three bytes a pixel would fill the memory of a small machine."""

SMALLEST_SHARE = 1 / 4
"""Photos whose shorter side is a smaller share of the training resolution are refused: enlarged more than four times,
they would teach the model blur."""

SEVERAL_FRAMES = "MPO", "HEIF"
"""Formats of phones that keep previews, depth and gain maps as further frames; the first one shown is the photo."""

AGAIN = "Copy the photo again, or remove it"

pillow_heif.register_heif_opener()


@dataclass(frozen=True)
class Photo:
    """One photo, ready to be trained on."""

    name: str
    """Name of its file, in printable letters."""
    digest: str
    """SHA-256 of its file."""
    size: tuple[int, int]
    """Width and height of the upright original in pixels."""
    image: Image.Image
    """The middle square, RGB, at the training resolution."""


class Findings(NamedTuple):
    """What is to be said about a folder of photos."""

    problems: list[Problem]
    """Why it can't be trained on."""
    warnings: list[str]
    """What its owner should know."""


class _Unusable(Exception):
    """Says what is wrong with a file (first argument) and what to do about it (second)."""


def inspect_photos(folder: Path, resolution: int | None = None) -> Findings:
    """Judges every photo of a folder.

    Args:
        folder: where the photos are.
        resolution: side of the square training pictures in pixels; None where only the base model knows it, and photos
            are then not judged by their size.
    """
    _, findings = _examine(folder, resolution)
    return findings


def load_photos(folder: Path, resolution: int) -> tuple[list[Photo], list[str]]:
    """The photos of a folder by name, at a resolution, and warnings about them.

    Hidden files and sub-folders are passed over, so that the mount of a ConfigMap can be read.

    Raises:
        InvalidData: names every file that is no usable photo.
    """
    photos, findings = _examine(folder, resolution)
    if findings.problems:
        raise InvalidData(findings.problems)
    return photos, findings.warnings


def _examine(folder: Path, resolution: int | None) -> tuple[list[Photo], Findings]:
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    except OSError as error:
        message = f"can't be read: {error.strerror}"
        return [], Findings([Problem(FIELD, str(folder), message, "Give the path of a folder with photos")], [])

    photos: list[Photo] = []
    problems: list[Problem] = []
    notes: list[str] = []
    seen: dict[bytes, str] = {}
    for path in files:
        try:
            upright = _open(path)
            _refuse_tiny(upright, resolution)
        except _Unusable as reason:
            problems.append(Problem(FIELD, str(path), *reason.args))
            continue
        # Names of files are any bytes but NUL and slash; the name goes into messages and into JSON.
        name = one_line(path.name)
        twin = seen.setdefault(hashlib.sha256(f"{upright.size}".encode() + upright.tobytes()).digest(), name)
        if twin != name:
            notes.append(f"{name} shows the same picture as {twin}; it counts twice in training")
        if resolution is not None:
            if min(upright.size) < resolution:
                notes.append(f"{name} is {_pixels(upright)} and is enlarged to {resolution}x{resolution}")
            photos.append(Photo(name, sha256_of(path), upright.size, _square(upright, resolution)))
    if not files:
        problems.append(
            Problem(FIELD, str(folder), "holds no photo", "Put photos of the subject there; three to five are usual")
        )
    return photos, Findings(problems, notes)


def _open(path: Path) -> Image.Image:
    """A photo in RGB, upright, in its own size."""
    with _explained():
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Unusable("is no regular file", "Remove it")
        if status.st_size == 0:
            raise _Unusable("is empty", AGAIN)
        with Image.open(path) as image:
            if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
                raise Image.DecompressionBombError
            if getattr(image, "is_animated", False) and image.format not in SEVERAL_FRAMES:
                raise _Unusable("has more than one frame", "Give one still picture")
            return to_rgb(ImageOps.exif_transpose(image))


@contextmanager
def _explained() -> Iterator[None]:
    """Says what the errors of Pillow and of the operating system mean to the owner of a photo."""
    try:
        # Pillow warns of pictures that are smaller than our own limit.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            yield
    except (_Unusable, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise _Unusable("is no picture, or a damaged one", "Remove it, or save it as JPEG, PNG or HEIC") from error
    except Image.DecompressionBombError as error:
        raise _Unusable(f"has more than {MAX_MEGAPIXELS} megapixels", "Scale it down") from error
    except FileNotFoundError as error:
        raise _Unusable("is a link to a file that does not exist", AGAIN) from error
    except PermissionError as error:
        raise _Unusable("can't be read by this user", "Allow it to be read (chmod a+r)") from error
    # The decoders raise errors of many types, struct.error and zlib.error among them, at damaged data.
    except Exception as error:
        raise _Unusable(f"is damaged ({error})", AGAIN) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in RGB: colour profiles become sRGB, and then what is transparent becomes white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):
        # Pillow would cut 16 bits off at 255; the sign bit of mode I is never set in pictures.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    # A profile speaks of colours alone: of those of a palette, and of those beneath an alpha channel.
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "La", "LA") else "RGB")
    colours = _to_srgb(image, profile) if profile else image.convert("RGB")
    return colours if alpha is None else Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """A picture in grey, RGB or CMYK by its profile.

    Phones photograph in Display P3, whose colours look pale when read as sRGB.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "L" and source.profile.xcolor_space.strip() == "RGB":
            image = image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    return converted or image.convert("RGB")


def _refuse_tiny(image: Image.Image, resolution: int | None) -> None:
    if resolution is not None and min(image.size) < resolution * SMALLEST_SHARE:
        raise _Unusable(
            f"is only {_pixels(image)} for a training resolution of {resolution}",
            "Give a larger photo, or lower training.resolution",
        )


def _square(image: Image.Image, side: int) -> Image.Image:
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def _pixels(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"
