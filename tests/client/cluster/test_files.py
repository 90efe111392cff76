"""Copies of files through a process: resumed, verified, and never outside of their folder."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from dreambooth_client.cluster.files import PROGRAM, RemoteFile, RemoteFolder, verify
from dreambooth_client.cluster.session import Session
from dreambooth_client.cluster.streams import Process, Streams
from dreambooth_client.errors import ClusterFailure


class FakeSocket:
    """The WebSocket of a process on this machine instead of one in a container."""

    def __init__(self, process: asyncio.subprocess.Process, most: int | None) -> None:
        self._process = process
        self._left = most

    async def send_bytes(self, data: bytes) -> None:
        assert self._process.stdin and data[0] == 0
        self._process.stdin.write(data[1:])

    async def receive(self) -> aiohttp.WSMessage:
        assert self._process.stdout and self._process.stderr
        data = await self._process.stdout.read(1000 if self._left is None else min(1000, self._left))
        if self._left is not None:
            self._left -= len(data)
        if data:
            return aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, b"\1" + data, None)
        if self._left == 0:
            return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None)
        if errors := await self._process.stderr.read():
            return aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, b"\2" + errors, None)
        code = await self._process.wait()
        status = {"status": "Success"} if code == 0 else {"status": "Failure", "message": f"exit code {code}"}
        return aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, b"\3" + json.dumps(status).encode(), None)


class FakeStreams:
    """Starts processes on this machine; the connection may break off after some bytes."""

    def __init__(self, most: int | None = None, program: str = PROGRAM) -> None:
        self._most = most
        self._program = program

    @asynccontextmanager
    async def process(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> AsyncIterator[Process]:
        assert command == ["python", "-c", PROGRAM]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", self._program, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            yield Process(cast(Any, FakeSocket(child, self._most)))
        finally:
            if child.returncode is None:
                child.kill()
            await child.communicate()


def remote(folder: Path, most: int | None = None, program: str = PROGRAM) -> RemoteFolder:
    streams = cast(Streams, FakeStreams(most, program))
    return RemoteFolder(Session(cast(Any, None), streams, "default"), "pod", str(folder))


def fetch(folder: RemoteFolder, target: Path) -> dict[str, int]:
    """Copies all files; the bytes that were reported for each."""
    advanced: dict[str, int] = {}

    async def run() -> None:
        def advance(file: RemoteFile, number: int) -> None:
            advanced[file.path] = advanced.get(file.path, 0) + number

        await folder.fetch(await folder.listed(), target, advance)

    asyncio.run(run())
    return advanced


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(os.urandom(3_000_000))
    (folder / "empty").touch()
    (folder / "ein Bild ü.png").write_bytes(b"picture")
    (folder / ".hidden").write_text("not complete")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "class.png").write_text("not of the run")
    (folder / "link").symlink_to("/etc/hostname")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_all_files_but_hidden_ones_and_links_are_copied(source: Path, tmp_path: Path) -> None:
    advanced = fetch(remote(source), tmp_path / "copy")
    wanted = {"model/weights", "empty", "ein Bild ü.png"}
    assert set(contents(tmp_path / "copy")) == wanted
    assert contents(tmp_path / "copy") == {name: (source / name).read_bytes() for name in wanted}
    assert advanced == {name: (source / name).stat().st_size for name in wanted}


def test_nothing_is_copied_twice_but_what_has_changed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    fetch(remote(source), target)
    before = {name: (target / name).stat().st_ino for name in contents(target)}
    (source / "ein Bild ü.png").write_bytes(b"another")
    fetch(remote(source), target)
    after = {name: (target / name).stat().st_ino for name in contents(target)}
    assert {name for name in before if before[name] != after[name]} == {"ein Bild ü.png"}
    assert (target / "ein Bild ü.png").read_bytes() == b"another"


def test_a_connection_that_breaks_off_is_resumed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with pytest.raises(ClusterFailure, match="broke off"):
        fetch(remote(source, most=2_000_000), target)
    (part,) = target.rglob("*.part")
    begun = part.stat().st_size
    assert 1_900_000 < begun < 2_000_000
    assert not (target / "model" / "weights").exists(), "a copy has its name only when it is complete"
    fetch(remote(source, most=1_200_000), target)
    assert (target / "model" / "weights").read_bytes() == (source / "model" / "weights").read_bytes()
    assert list(target.rglob("*.part")) == []


def test_a_part_that_is_damaged_is_not_used(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with pytest.raises(ClusterFailure):
        fetch(remote(source, most=2_000_000), target)
    (part,) = target.rglob("*.part")
    with part.open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(ClusterFailure, match="model/weights was damaged on the way"):
        fetch(remote(source), target)
    fetch(remote(source), target)
    assert (target / "model" / "weights").read_bytes() == (source / "model" / "weights").read_bytes()


def test_a_file_that_vanishes_is_named(source: Path, tmp_path: Path) -> None:
    folder = remote(source)

    async def run() -> None:
        files = await folder.listed()
        (source / "empty").unlink()
        await folder.fetch(files, tmp_path / "copy", lambda file, number: None)

    with pytest.raises(ClusterFailure, match="empty can't be read: No such file or directory"):
        asyncio.run(run())


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterFailure, match=r"No such file or directory: '/.*/nowhere'"):
        fetch(remote(tmp_path / "nowhere"), tmp_path / "copy")


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", ""])
def test_a_pod_cannot_write_outside_of_the_folder(path: str, tmp_path: Path) -> None:
    """The trainer's image may be anybody's."""
    lies = f"import sys, json; sys.stdin.readline(); print(json.dumps([[{path!r}, 3, 0]]))"
    with pytest.raises(ClusterFailure, match="outside of its folder"):
        fetch(remote(tmp_path, program=lies), tmp_path / "copy")


def test_digests_of_the_trainer_find_what_was_damaged_on_the_volume(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    digest = "9cc52a75a2e5c24d20f2ce8dcb9d10d5a9ec3e1ddee0f8ae5cdf2cfbb0a1c0d6"
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  weights\n{digest}  not-copied\n")
    with pytest.raises(ClusterFailure, match="weights does not have the digest"):
        verify([tmp_path / "SHA256SUMS"], {})
