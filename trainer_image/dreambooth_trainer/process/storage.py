"""Atomic writes: after a kill of the process or the machine, a file or folder is complete or does not exist."""

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from dreambooth_api.failures import StorageUnavailable

SUMS = "SHA256SUMS"
"""File with the digests of the files next to it and below, in the format of the program sha256sum."""
READERS = 4
"""Files that are read at the same time."""


def flush_folder(folder: Path, *, contents: bool = True) -> None:
    """Flushes a folder, and all files in it, to the disk."""
    for path in [*(folder.rglob("*") if contents else ()), folder]:
        _fsync(path)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary folder next to `target` that becomes `target` when the block ends without an error.

    All its files are flushed to the disk before the rename, and the rename before the return. A kill between the two
    renames of a replacement leaves neither the old nor the new folder: a caller that replaces must be able to write it
    again.

    Args:
        target: path of the folder.
        replace: what happens to a folder that exists already. True replaces it; only for a single writer, which also
            removes the temporary folders of killed writers. False keeps it and discards the new one: the first of two
            writers wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if replace:
        for leftover in target.parent.glob(f".{glob.escape(target.name)}.*"):
            shutil.rmtree(leftover)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield staging
        for path in [staging, *staging.rglob("*")]:
            # Some libraries write files that only their owner can read.
            path.chmod(0o755 if path.is_dir() else 0o644)
        flush_folder(staging)
        if replace and target.exists():
            discarded = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            target.rename(discarded / "old")
            staging.rename(target)
            shutil.rmtree(discarded)
        else:
            try:
                staging.rename(target)
            except OSError:
                if not target.exists():
                    raise
        _fsync(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_atomically(target: Path, content: bytes | str) -> None:
    """Writes a file that readers see completely or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
        _fsync(target.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(target: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_atomically(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def require_writable(folder: Path) -> None:
    """Makes sure that files can be written to a folder, which is created if it is missing.

    The function tries it: a read-only mount or a file server can refuse writes that the permissions allow.

    Raises:
        StorageUnavailable: files can't be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageUnavailable.of(error, folder) from error


def is_writable(folder: Path) -> bool:
    """Whether files can be written to a folder; see `require_writable`."""
    try:
        require_writable(folder)
    except StorageUnavailable:
        return False
    return True


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read only once in a process while the file's time and size stay the
    same."""
    status = path.stat()
    key = path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns
    with _LOCK:
        known, mine = _DIGESTS.get(key), Future[str]()
        digest = _DIGESTS[key] = known or mine
    if digest is mine:
        try:
            mine.set_result(sha256_of(path))
        except BaseException as error:
            mine.set_exception(error)
            del _DIGESTS[key]
    return digest.result()


_LOCK = Lock()

_DIGESTS: dict[tuple[Path, int, int, int], Future[str]] = {}
"""Digests that threads have computed or are computing."""


def digest_of(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-like value, equal for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def manifest_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path relative to the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return read_together(sha256_of, folder, files)


def read_together(read: Callable[[Path], str], folder: Path, files: Sequence[Path]) -> dict[str, str]:
    """What a function returns for each file, by its path relative to a folder. Some files are read at the same time: one core
    computes the digests of the weights of a large model in a minute.

    Args:
        read: reads a file. It must be safe in threads.
        folder: the folder.
        files: files below it.
    """
    with ThreadPoolExecutor(READERS) as readers:
        names = [path.relative_to(folder).as_posix() for path in files]
        return dict(zip(names, readers.map(read, files), strict=True))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
