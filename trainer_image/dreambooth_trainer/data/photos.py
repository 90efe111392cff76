"""Finds the subject's photos in a folder, checks them, and makes them upright, square and RGB.

Called by the phase `prepare`, for the training, and by the command line, for the validation. Needs only Pillow.
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
"""Larger pictures are rejected before they are decoded: three bytes a pixel would fill the memory of a small
machine."""

SMALLEST_SHARE = 1 / 4
"""Photos whose shorter side is a smaller share of the training resolution are rejected: the model would learn the blur
of pictures that are enlarged more than four times."""

SEVERAL_FRAMES = "MPO", "HEIF"
"""Formats of phones that store previews, depth maps and gain maps as further frames. The first frame is the photo."""

AGAIN = "Copy the photo again, or remove it"

pillow_heif.register_heif_opener()


@dataclass(frozen=True)
class Photo:
    """One photo, ready for the training."""

    name: str
    """Name of its file, in printable characters."""
    digest: str
    """SHA-256 of its file."""
    size: tuple[int, int]
    """Width and height of the upright original in pixels."""
    image: Image.Image
    """The middle square, RGB, at the training resolution."""


class Findings(NamedTuple):
    """Problems and warnings of a folder of photos."""

    problems: list[Problem]
    """Reasons why the photos can't be used."""
    warnings: list[str]
    """Messages for the user about photos that can be used."""


class _Unusable(Exception):
    """A file can't be used. The first argument is the reason, the second the remedy."""


def inspect_photos(folder: Path, resolution: int | None = None) -> Findings:
    """Checks every photo of a folder.

    Args:
        folder: folder of the photos.
        resolution: side of the square training pictures in pixels. None if only the base model defines it: the size of
            the photos is then not checked.
    """
    _, findings = _examine(folder, resolution)
    return findings


def load_photos(folder: Path, resolution: int) -> tuple[list[Photo], list[str]]:
    """The photos of a folder in the order of their names, at a resolution, and warnings about them.

    Hidden files and sub-folders are ignored, so that the mount of a ConfigMap can be read.

    Raises:
        InvalidData: lists every file that is no usable photo.
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
        # A file name may hold any bytes except NUL and slash. The name appears in messages and in JSON.
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
    """Translates errors of Pillow and of the operating system into a reason and a remedy for the user."""
    try:
        # Pillow warns about pictures that are smaller than our own limit.
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
    # For damaged data, the decoders raise errors of many types, such as struct.error and zlib.error.
    except Exception as error:
        raise _Unusable(f"is damaged ({error})", AGAIN) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode in RGB. Colour profiles are converted to sRGB, and transparent pixels become white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255. The sign bit of mode I is never set in pictures.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    # A profile applies to colours only: to those of a palette, and to those without the alpha channel.
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "La", "LA") else "RGB")
    colours = _to_srgb(image, profile) if profile else image.convert("RGB")
    return colours if alpha is None else Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts a picture in grey, RGB or CMYK to sRGB by its profile.

    Phones take photos in Display P3, whose colours look pale when they are read as sRGB.
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
