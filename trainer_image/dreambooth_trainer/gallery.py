"""Pictures on disk, each with its settings as text in the picture and in a JSON file of the same name. Used by
`generate.py`.

A folder can have pictures of many scenes: the settings identify a picture, and no file is replaced by another picture.
One process at a time may write to a folder.
"""

import io
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dreambooth_trainer.process.storage import write_atomically, write_json

Settings = Mapping[str, Any]
"""All settings that determine a picture, in the form of JSON."""

LONGEST_STEM = 100
"""Most bytes of a prompt in a file name. The limit of a whole name is 255 on most file systems."""


def find(folder: Path, name: str, settings: Settings) -> Path | None:
    """The file of a picture with these settings, if it exists and is not damaged."""
    path = _place(folder, name, settings)
    return path if _is_whole(path) else None


def save(folder: Path, name: str, settings: Settings, image: Image.Image) -> Path:
    """Writes a picture and its settings, under a name with a number if the name itself is in use."""
    path = _place(folder, name, settings)
    text = PngInfo()
    for key, value in settings.items():
        text.add_text(key, value if isinstance(value, str) else json.dumps(value))
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=text)
    # First, since it says whose the name is.
    write_json(path.with_suffix(".json"), settings)
    write_atomically(path, content.getvalue())
    return path


def remove_leftovers(folder: Path) -> None:
    """Removes incomplete files of a writer that was killed."""
    for path in folder.iterdir():
        if re.fullmatch(r"\..+\.(png|json)\.\w{8}", path.name):
            path.unlink()


def stem(prompt: str) -> str:
    """A prompt in the form of the beginning of a file name."""
    words = "-".join("".join(letter if letter.isalnum() else " " for letter in prompt.lower()).split())
    return words.encode()[:LONGEST_STEM].decode(errors="ignore").rstrip("-") or "picture"


def _place(folder: Path, name: str, settings: Settings) -> Path:
    """The file for a picture with these settings: the first of `name`, `name-2`, ... that is the picture's or is free."""
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        path = folder / f"{name}{suffix}.png"
        known = _read_settings(path)
        if known == settings or (known is None and not path.exists()):
            return path
    raise AssertionError("numbers never end")


def _read_settings(path: Path) -> Any:
    """The settings of a picture in its JSON file; None if there is no file."""
    try:
        return json.loads(path.with_suffix(".json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return "damaged"


def _is_whole(path: Path) -> bool:
    """Whether a picture can be read to its end."""
    try:
        with Image.open(path) as image:
            image.load()
    # For damaged data, Pillow raises errors of both types.
    except (OSError, SyntaxError):
        return False
    return True
