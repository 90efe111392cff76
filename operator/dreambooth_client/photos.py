"""Makes photos small enough for a ConfigMap: upright, no larger than the training uses them, with their captions and masks."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from dreambooth_trainer.data.folder import MASK, TABLE, read_folder
from dreambooth_trainer.data.pictures import open_alpha, open_upright

MOST_BYTES = 1_000_000
"""Most bytes of photos in a ConfigMap: those of all keys and values may have 1 MiB together.
https://kubernetes.io/docs/concepts/configuration/configmap/#motivation"""
QUALITY = 95
"""JPEG quality: differences to the original are below those between two photos of the same thing."""
KEPT_BYTES = 200_000
"""Files up to this size that are small enough in pixels too are not encoded again."""
FORMATS = {".jpg", ".jpeg", ".png", ".webp"}
"""Endings of files that are not encoded again."""

Files = Mapping[str, bytes]
"""Content of each file by its name, which is also a valid key of a ConfigMap."""


def prepared(folder: Path, side: int) -> tuple[Files, Mapping[str, str]]:
    """The photos of a folder in the size that a training uses, with captions and masks.

    Args:
        folder: a folder whose photos have been checked.
        side: pixels of the shorter side; photos are not enlarged.

    Returns:
        The files, and the new name of each photo by its old one.
    """
    contents = read_folder(folder)
    names: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for number, path in enumerate(contents.photos):
        data, ending = _encoded(path, side)
        stem = f"{number:02}-{re.sub('[^-._A-Za-z0-9]+', '-', path.stem).strip('-.') or 'photo'}"
        names[path.name] = f"{stem}{ending}"
        files[names[path.name]] = data
        if mask := contents.masks.get(path.name):
            files[f"{stem}{MASK}"] = _mask(mask, side)
    for path, owners in contents.captions.items():
        for owner in owners:
            files[f"{Path(names[owner]).stem}{path.suffix.lower()}"] = path.read_bytes()
    if contents.table:
        files[TABLE] = _renamed(contents.table, names).encode()
    return files, names


def _encoded(path: Path, side: int) -> tuple[bytes, str]:
    """A photo as a file, and the ending of its name."""
    image, alpha = open_upright(path), open_alpha(path)
    size, ending = _smaller(image.size, side), path.suffix.lower()
    with Image.open(path) as original:
        upright = original.size == image.size and original.getexif().get(0x0112, 1) == 1
        plain = "icc_profile" not in original.info
    if size == image.size and upright and plain and ending in FORMATS and path.stat().st_size <= KEPT_BYTES:
        return path.read_bytes(), ending
    small = image.resize(size, Image.Resampling.LANCZOS)
    written = io.BytesIO()
    if alpha is None:
        small.save(written, "JPEG", quality=QUALITY, subsampling=0)
        return written.getvalue(), ".jpg"
    small.putalpha(alpha.resize(size, Image.Resampling.LANCZOS))
    small.save(written, "PNG", optimize=True)
    return written.getvalue(), ".png"


def _mask(path: Path, side: int) -> bytes:
    image, alpha = open_upright(path).convert("L"), open_alpha(path)
    mask = image if alpha is None else alpha
    written = io.BytesIO()
    mask.resize(_smaller(mask.size, side), Image.Resampling.BOX).save(written, "PNG", optimize=True)
    return written.getvalue()


def _smaller(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _renamed(table: Path, names: Mapping[str, str]) -> str:
    """A table of captions with the new names of the photos."""
    rows = (json.loads(line) for line in table.read_text("utf-8-sig").split("\n") if line.strip())
    renamed = ({**row, "file_name": names[row["file_name"].removeprefix("./")]} for row in rows)
    return "".join(f"{json.dumps(row)}\n" for row in renamed)
