"""Copies files of a run or of a scene out of its claim: resumed, verified by digests, each written atomically.

A process in a pod sends them: in the trainer's pod while it runs, otherwise in a pod that mounts the claim (`reader_pod.py`).
"""

import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from dreambooth_client.cluster.reader_pod import MOUNT, reader_pod, running_pod
from dreambooth_client.cluster.session import Session
from dreambooth_client.cluster.streams import Process
from dreambooth_client.cluster.workloads import is_running, main_pod, newest_attempt, output_of
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.seen import Seen
from dreambooth_operator.objects.folders import inside
from dreambooth_operator.objects.names import CONTAINER
from dreambooth_operator.objects.observed import Object
from dreambooth_trainer.process.storage import SUMS, sha256_of

CHUNK = 2**20
PROGRAM = files("dreambooth_client.cluster").joinpath("in_pod.py").read_text()
Report = Callable[[str], None]


class RemoteFile(NamedTuple):
    """A file in the folder of a run or scene."""

    path: str
    """Relative to the folder."""
    size: int
    """Bytes."""
    changed_ns: int
    """Time of its last change, in nanoseconds since 1970."""


@dataclass(frozen=True)
class RemoteFolder:
    """The folder of a run or scene, reached through a pod."""

    session: Session
    pod: str
    path: str
    """Inside the pod."""

    async def listed(self) -> list[RemoteFile]:
        """All files but hidden ones.

        Raises:
            ClusterFailure: the folder does not exist, or the connection broke off.
        """
        async with self._process({}) as process:
            return [RemoteFile(*one) for one in json.loads(await process.line())]

    async def fetch(
        self, wanted: Sequence[RemoteFile], target: Path, advance: Callable[[RemoteFile, int], None]
    ) -> dict[Path, str]:
        """Copies files to a folder of this machine. What an earlier call has copied of them is kept.

        Args:
            wanted: the files, in the order in which they are copied.
            target: the folder.
            advance: called with a file and the number of its further bytes that are there.

        Returns:
            The copies that were missing, with their SHA-256 digests.

        Raises:
            ClusterFailure: a file is damaged on the way, or the connection broke off; the next call continues.
            OSError: a file can't be written.
        """
        missing = [one for one in wanted if not _is_there(one, target)]
        for one in set(wanted) - set(missing):
            advance(one, one.size)
        parts = {one: _part_of(one, target) for one in missing}
        offsets = {one: part.stat().st_size if part.exists() else 0 for one, part in parts.items()}
        digests: dict[Path, str] = {}
        if not missing:
            return digests
        async with self._process({"files": [(one.path, offsets[one]) for one in missing]}) as process:
            for one in missing:
                advance(one, offsets[one])
                place = local(one.path, target)
                digests[place] = await _receive(process, one, parts[one], offsets[one], place, advance)
        return digests

    @asynccontextmanager
    async def _process(self, request: dict[str, Any]) -> AsyncIterator[Process]:
        command = ["python", "-c", PROGRAM]
        async with self.session.streams.process(self.session.namespace, self.pod, CONTAINER, command) as process:
            await process.send(json.dumps({"folder": self.path, **request}).encode() + b"\n")
            yield process


def verify(copies: Iterable[Path], known: Mapping[Path, str]) -> None:
    """Compares copies with the lists of digests (`SHA256SUMS`) among them, which the trainer has written.

    Args:
        copies: the copies.
        known: the digests of those that have just been received.

    Raises:
        ClusterFailure: a file was damaged on its volume.
    """
    for sums in (one for one in copies if one.name == SUMS):
        for line in sums.read_text().splitlines():
            digest, _, name = line.partition("  ")
            file = sums.parent / name
            if file.is_file() and (known.get(file) or sha256_of(file)) != digest:
                raise ClusterFailure(f"{file} does not have the digest in {sums}: it was damaged in the cluster")


@asynccontextmanager
async def remote_folder(session: Session, seen: Seen, patience: float, report: Report) -> AsyncIterator[RemoteFolder]:
    """The folder with the output of a workload, through the trainer's pod or one that is started for the purpose.

    Args:
        session: the connection.
        seen: the workload.
        patience: seconds for which a pod may take to start.
        report: called with what is being waited for.

    Raises:
        ClusterFailure: there is no output yet, or the pod does not start.
    """
    claim, path = await output_of(session, seen)
    pod = await main_pod(session, seen)
    if pod and is_running(pod) and (mount := _mount_of(pod, claim)):
        yield RemoteFolder(session, pod["metadata"]["name"], inside(mount, path))
        return
    job = await newest_attempt(session, seen)
    if job is None:
        raise ClusterFailure(f"{seen.target} has no Job any more, whose image could read claim {claim}")
    async with running_pod(session, reader_pod(seen, job, claim), patience, report) as name:
        yield RemoteFolder(session, name, inside(MOUNT, path))


def _mount_of(pod: Object, claim: str) -> str | None:
    """Where the trainer's container mounts a claim."""
    volumes = {
        one["name"] for one in pod["spec"]["volumes"] if one.get("persistentVolumeClaim", {}).get("claimName") == claim
    }
    container = next(one for one in pod["spec"]["containers"] if one["name"] == CONTAINER)
    return next((str(one["mountPath"]) for one in container["volumeMounts"] if one["name"] in volumes), None)


def local(path: str, target: Path) -> Path:
    """Where a file belongs on this machine.

    Raises:
        ClusterFailure: outside of the target: the pod's answers are not trusted.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ClusterFailure(f"the pod names a file outside of its folder: {path!r}")
    return target.joinpath(*parts)


def _is_there(file: RemoteFile, target: Path) -> bool:
    """Whether a copy has the size and the time of a file."""
    place = local(file.path, target)
    if not place.is_file():
        return False
    state = place.stat()
    return (state.st_size, state.st_mtime_ns) == (file.size, file.changed_ns)


def _part_of(file: RemoteFile, target: Path) -> Path:
    """The beginning of a copy; of a file that has changed meanwhile, it has another name."""
    place = local(file.path, target)
    return place.with_name(f".{place.name}.{file.size}-{file.changed_ns}.part")


async def _receive(
    process: Process,
    file: RemoteFile,
    part: Path,
    offset: int,
    place: Path,
    advance: Callable[[RemoteFile, int], None],
) -> str:
    """Receives a file from an offset on; its digest."""
    header = json.loads(await process.line())
    if "error" in header:
        raise ClusterFailure(f"{file.path} can't be read: {header['error']}; try again")
    size = header["size"]
    part.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with part.open("ab") as written:
        for chunk in _chunks_of(part, offset):
            digest.update(chunk)
        done = offset
        while done < size:
            chunk = await process.read(min(CHUNK, size - done))
            digest.update(chunk)
            written.write(chunk)
            done += len(chunk)
            advance(file, len(chunk))
        written.flush()
        os.fsync(written.fileno())
    received = digest.hexdigest()
    if received != json.loads(await process.line())["sha256"]:
        part.unlink()
        raise ClusterFailure(f"{file.path} was damaged on the way, or has changed; try again")
    os.utime(part, ns=(file.changed_ns, file.changed_ns))
    part.replace(place)
    return received


def _chunks_of(part: Path, length: int) -> Iterable[bytes]:
    with part.open("rb") as file:
        while length > 0 and (chunk := file.read(min(CHUNK, length))):
            length -= len(chunk)
            yield chunk
