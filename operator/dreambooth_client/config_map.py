"""Photos of a ConfigMap that stands in the same file as the manifest, so that the file means the same here and in a cluster."""

import atexit
import base64
import binascii
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dreambooth_api.failures import Problem
from dreambooth_trainer.process.storage import atomic_folder, is_writable

Photos = Mapping[str, bytes]
"""Content of each file by its name."""


def photos_of(documents: Iterable[Any], name: str) -> tuple[Photos | None, list[Problem]]:
    """The photos of a ConfigMap.

    Args:
        documents: all documents of a file.
        name: name of the ConfigMap.

    Returns:
        The photos, None if no document is that ConfigMap; and what is wrong with it.
    """
    found = next((one for one in documents if _is_named(one, name)), None)
    if found is None:
        return None, []
    photos, problems = {}, []
    remedy = "Make it with kubectl create configmap NAME --from-file=FOLDER"
    # kubectl puts files that are text, such as captions, into data.
    for part in ("data", "binaryData"):
        field, data = f"{part} of ConfigMap {name}", found.get(part)
        for key, text in data.items() if isinstance(data, Mapping) else ():
            if not isinstance(key, str) or not re.fullmatch(r"[-._a-zA-Z0-9]+", key) or key == "." or key[:2] == "..":
                problems.append(Problem(field, key, "is no name of a file", remedy))
                continue
            try:
                photos[key] = _decoded(str(text)) if part == "binaryData" else str(text).encode()
            except binascii.Error as error:
                problems.append(Problem(f"{field}, {key}", text, f"is no base64: {error}", remedy))
    return photos, problems


def unpacked(photos: Photos, cache: Path | None) -> Path:
    """A folder with photos, in a cache of such folders that are named by what is in them.

    Where there is no cache, or nothing can be put there, it is a temporary one, which goes with this process.
    """
    digest = hashlib.sha256(repr(sorted(photos.items())).encode()).hexdigest()[:16]
    if cache is not None and (cache / digest).exists():
        return cache / digest
    if cache is None or not is_writable(cache):
        cache = Path(tempfile.mkdtemp(prefix="dreambooth-photos-"))
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
    with atomic_folder(cache / digest, replace=False) as staging:
        for name, content in photos.items():
            (staging / name).write_bytes(content)
    return cache / digest


def _decoded(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _is_named(document: Any, name: str) -> bool:
    if not isinstance(document, Mapping) or document.get("kind") != "ConfigMap":
        return False
    metadata = document.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get("name") == name
