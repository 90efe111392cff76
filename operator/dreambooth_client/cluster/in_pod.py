"""Runs in a container with the files of a run: lists and sends them.

`files.py` passes its text to the container's Python, so it needs nothing but the standard library, and fits every version of
the trainer. It reads one line of JSON from stdin: `folder`, and `files` with the path and the offset of each file to send.

Without `files`, it writes one line: path, size in bytes and time of the last change in nanoseconds of each file in the folder.
Otherwise it writes for each file a line with its size, its bytes from the offset on, and a line with the SHA-256 digest of the
complete file; for a file that can't be read, a line with the error.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator

CHUNK = 2**20


def main() -> None:
    """Answers one request."""
    request = json.loads(sys.stdin.readline())
    os.chdir(request["folder"])
    if "files" in request:
        for path, offset in request["files"]:
            send(path, offset)
    else:
        write(list(listed()))


def listed() -> Iterator[tuple[str, int, int]]:
    """Path, size and time of each regular file; hidden files and folders are left out, as they are not complete."""
    for folder, folders, names in os.walk("."):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.normpath(os.path.join(folder, name))
            if not name.startswith(".") and os.path.isfile(path) and not os.path.islink(path):
                state = os.stat(path)
                yield path, state.st_size, state.st_mtime_ns


def send(path: str, offset: int) -> None:
    """Sends a file as long as it is now: others may append to it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return write({"error": error.strerror})
    digest = hashlib.sha256()
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        write({"size": size})
        done = 0
        while done < size:
            chunk = file.read(min(CHUNK, size - done))
            if not chunk:
                sys.exit(f"{path} became shorter while it was read")
            digest.update(chunk)
            sys.stdout.buffer.write(chunk[max(0, offset - done) :])
            done += len(chunk)
    write({"sha256": digest.hexdigest()})


def write(answer: object) -> None:
    """Writes a line of JSON."""
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
