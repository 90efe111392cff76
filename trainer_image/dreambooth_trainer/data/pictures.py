"""Opens picture files of any format as upright RGB pictures, and explains why a file can't be opened. Needs only Pillow."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pillow_heif
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

MAX_MEGAPIXELS = 100
"""Larger pictures are rejected before they are decoded: three bytes a pixel would fill the memory of a small
machine."""

SEVERAL_FRAMES = "MPO", "HEIF"
"""Formats of phones that store previews, depth maps and gain maps as further frames. The first frame is the photo."""

RAW = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}
"""Endings of raw files of cameras. Many are TIFF files whose first picture is a small preview, which Pillow would read."""

NEW_SUBFILE_TYPE, DNG_VERSION = 254, 50706
"""Tags of TIFF files. Bit 0 of the first says that a picture is a smaller version of another one in the file."""

AGAIN = "Copy the photo again, or remove it"
A_RAW_FILE = "is a raw file, of which only a small preview could be read", "Export it as JPEG, and use that instead"

pillow_heif.register_heif_opener()


class Unusable(Exception):
    """A file can't be used. The first argument is the reason, the second the remedy."""


def open_upright(path: Path) -> Image.Image:
    """A picture in RGB, upright, in its own size.

    Raises:
        Unusable: the file can't be used as a still picture.
    """
    with _explained(), _still(path) as image:
        return to_rgb(ImageOps.exif_transpose(image))


def open_alpha(path: Path) -> Image.Image | None:
    """The opacity of a picture, upright, in grey; None for a picture that is nowhere transparent.

    Raises:
        Unusable: the file can't be used as a still picture.
    """
    with _explained(), _still(path) as image:
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A") if image.has_transparency_data else None
        return None if alpha is None or alpha.getextrema() == (255, 255) else alpha


@contextmanager
def _still(path: Path) -> Iterator[Image.Image]:
    """Opens a file, and checks that it is a still picture of a size that can be decoded."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unusable("is no regular file", "Remove it")
    if status.st_size == 0:
        raise Unusable("is empty", AGAIN)
    if path.suffix.lower() in RAW:
        raise Unusable(*A_RAW_FILE)
    with Image.open(path) as image:
        if _is_preview(image):
            raise Unusable(*A_RAW_FILE)
        if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
            raise Image.DecompressionBombError
        if getattr(image, "is_animated", False) and image.format not in SEVERAL_FRAMES:
            raise Unusable("has more than one frame", "Give one still picture")
        yield image


def _is_preview(image: Image.Image) -> bool:
    """Whether the first picture of a file is a preview of another one, as in raw files that were renamed to `.tif`."""
    if not isinstance(image, TiffImageFile):
        return False
    return DNG_VERSION in image.tag_v2 or bool(image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & 1)


@contextmanager
def _explained() -> Iterator[None]:
    """Translates errors of Pillow and of the operating system into a reason and a remedy for the user."""
    try:
        # Pillow warns about pictures that are smaller than our own limit.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            yield
    except (Unusable, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise Unusable("is no picture, or a damaged one", "Remove it, or save it as JPEG, PNG or HEIC") from error
    except Image.DecompressionBombError as error:
        raise Unusable(f"has more than {MAX_MEGAPIXELS} megapixels", "Scale it down") from error
    except FileNotFoundError as error:
        raise Unusable("is a link to a file that does not exist", AGAIN) from error
    except PermissionError as error:
        raise Unusable("can't be read by this user", "Allow it to be read (chmod a+r)") from error
    # For damaged data, the decoders raise errors of many types, such as struct.error and zlib.error.
    except Exception as error:
        raise Unusable(f"is damaged ({error})", AGAIN) from error


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
