"""Makes photos small enough for a ConfigMap: upright, no larger than the training uses them, with their captions and masks."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import ExifTags, Image

from dreambooth_api.training import MOST_CONFIG_MAPS
from dreambooth_trainer.data.folder import MASK, TABLE, read_folder
from dreambooth_trainer.data.pictures import open_alpha, open_upright

MOST_BYTES = 1_000_000
"""Most bytes of photos in a ConfigMap: those of all keys and values may have 1 MiB together.
https://kubernetes.io/docs/concepts/configuration/configmap/#motivation"""
QUALITIES = 90, 80, 70
"""Qualities of AVIF; the first is used with which all photos fit into ConfigMaps. On four photos of scikit-image, 70 has the PSNR
of JPEG at 90 (36 to 38 dB) in half of its bytes, and 90 has 40 to 42 dB in as many."""
SPEED = 8
"""Of the encoder: a third of the time of the default, for 0 to 5 % more bytes."""
KEPT_BYTES = 100_000
"""Files up to this size that are small enough in pixels too are not encoded again."""
FORMATS = {".jpg", ".jpeg", ".png", ".webp"}
"""Endings of files that are not encoded again."""

Files = Mapping[str, bytes]
"""Content of each file by its name, which is also a valid key of a ConfigMap."""


def prepared(folder: Path, side: int, *, square: bool) -> tuple[Files, Mapping[str, str]]:
    """The photos of a folder in the size that a training uses, with captions and masks.

    Args:
        folder: a folder whose photos have been checked.
        side: pixels of the shorter side; photos are not enlarged.
        square: whether only the middle square is used.

    Returns:
        The files, in the first of the qualities with which they fit into ConfigMaps, else in the last; and the new name of each
        photo by its old one.
    """
    contents = read_folder(folder)
    names: dict[str, str] = {}
    files: dict[str, bytes] = {}
    scaled: dict[str, Image.Image] = {}
    for number, path in enumerate(contents.photos):
        stem = f"{number:02}-{re.sub('[^-._A-Za-z0-9]+', '-', path.stem).strip('-.') or 'photo'}"
        image = _opened(path)
        if _is_kept(path, image, side):
            name = f"{stem}{path.suffix.lower()}"
            files[name] = path.read_bytes()
        else:
            name = f"{stem}.avif"
            scaled[name] = _smaller(image, side, square, Image.Resampling.LANCZOS)
        names[path.name] = name
        if mask := contents.masks.get(path.name):
            files[f"{stem}{MASK}"] = _mask(mask, side, square)
    for path, owners in contents.captions.items():
        for owner in owners:
            files[f"{Path(names[owner]).stem}{path.suffix.lower()}"] = path.read_bytes()
    if contents.table:
        files[TABLE] = _renamed(contents.table, names).encode()
    for quality in QUALITIES:
        files |= {name: _encoded(image, quality) for name, image in scaled.items()}
        if fits(files):
            break
    return files, names


def fits(files: Files) -> bool:
    """Whether files fit into the ConfigMaps that a DreamBoothJob may name."""
    shares = shared(files)
    return len(shares) <= MOST_CONFIG_MAPS and all(size_of(share) <= MOST_BYTES for share in shares)


def shared(files: Files) -> Sequence[Files]:
    """Files shared out to as few ConfigMaps as their order allows."""
    shares: list[dict[str, bytes]] = [{}]
    for name, content in files.items():
        if shares[-1] and size_of(shares[-1]) + size_of({name: content}) > MOST_BYTES:
            shares.append({})
        shares[-1][name] = content
    return shares


def size_of(files: Files) -> int:
    """Bytes of files and of their names."""
    return sum(len(name) + len(content) for name, content in files.items())


def _opened(path: Path) -> Image.Image:
    """A photo, upright, with its opacity if it is transparent somewhere."""
    image, alpha = open_upright(path), open_alpha(path)
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _is_kept(path: Path, upright: Image.Image, side: int) -> bool:
    """Whether the file of a photo can stay as it is."""
    if min(upright.size) > side or path.stat().st_size > KEPT_BYTES or path.suffix.lower() not in FORMATS:
        return False
    with Image.open(path) as original:
        is_upright = original.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return is_upright and "icc_profile" not in original.info


def _encoded(image: Image.Image, quality: int) -> bytes:
    written = io.BytesIO()
    image.save(written, "AVIF", quality=quality, subsampling="4:4:4", speed=SPEED)
    return written.getvalue()


def _mask(path: Path, side: int, square: bool) -> bytes:
    alpha = open_alpha(path)
    mask = open_upright(path).convert("L") if alpha is None else alpha
    written = io.BytesIO()
    _smaller(mask, side, square, Image.Resampling.BOX).save(written, "PNG", optimize=True)
    return written.getvalue()


def _smaller(image: Image.Image, side: int, square: bool, resampling: Image.Resampling) -> Image.Image:
    shorter = min(image.size)
    if square:
        left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
        image = image.crop((left, top, left + shorter, top + shorter))
    scale = min(1.0, side / shorter)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, resampling)


def _renamed(table: Path, names: Mapping[str, str]) -> str:
    """A table of captions with the new names of the photos."""
    rows = (json.loads(line) for line in table.read_text("utf-8-sig").split("\n") if line.strip())
    renamed = ({**row, "file_name": names[row["file_name"].removeprefix("./")]} for row in rows)
    return "".join(f"{json.dumps(row)}\n" for row in renamed)
