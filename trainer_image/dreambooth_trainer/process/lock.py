"""A lock that allows one writer at a time in a folder, which processes on several machines may share. `start.py`
locks the folders of runs and of scenes.

A file lock of the kernel (flock) excludes all processes of this machine, and the kernel releases it when its holder
ends. Some file systems don't share locks between machines, or have no locks. The file therefore also names its holder,
and the holder changes its content every few seconds: a file without changes belongs to a holder that has died. Clocks
of different machines are never compared.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from dreambooth_api.failures import StorageUnavailable

WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of flock on a file system without locks."""


@dataclass(frozen=True)
class Timeouts:
    """Timeouts and intervals, in seconds."""

    holder: float = 10.0
    """Wait for a live holder to end: the previous attempt may still be stopping."""
    renewal: float = 5.0
    """Interval between two changes of the file by its holder."""
    silence: float = 30.0
    """Time without a change after which a holder on another machine counts as dead."""
    server: float = 120.0
    """Wait for the server of a network file system to release the lock of a lost machine."""
    look: float = 0.25
    """Interval between two checks."""


@dataclass(frozen=True)
class Holder:
    """The process that writes to a folder."""

    host: str
    pid: int
    since: str
    """Time of its start, ISO 8601."""
    kernel: str
    """Boot id of its kernel: pods of a node share a kernel, but have different host names."""
    mark: str
    """A random number that identifies the process."""

    @classmethod
    def this(cls) -> "Holder":
        """This process."""
        host = socket.gethostname()
        return cls(host, os.getpid(), _now(), _kernel() or host, secrets.token_hex(8))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def one_writer(
    file: Path,
    folder: Path,
    *,
    waiting: Callable[[str], None],
    check: Callable[[], None],
    lost: Callable[[str], None],
    timeouts: Timeouts = Timeouts(),
) -> Iterator[None]:
    """Locks a folder for this process while the block runs.

    Args:
        file: the lock file. It exists while a process holds the lock, or after that process was killed.
        folder: the folder that is locked, for messages.
        waiting: called once with a message that names the holder, before waiting begins.
        check: called while waiting; an exception ends the wait.
        lost: called from another thread if another process has taken the lock. This process must then write no more.
        timeouts: timeouts and intervals.

    Raises:
        StorageUnavailable: another process holds the lock, or the folder is not writable.
    """
    me = Holder.this()
    handle = _take(file, folder, me, waiting, check, timeouts)
    ended = threading.Event()
    thread = threading.Thread(
        target=_renew, args=(file, folder, handle, me, ended, lost, timeouts), name="lock", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _holder(_content(file)) == me:
            file.unlink(missing_ok=True)
        os.close(handle)


def holder_of(file: Path) -> Holder | None:
    """The process of this machine that holds a lock, found without taking the lock; None if there is none."""
    holder = _holder(_content(file))
    if holder is None or holder.kernel != (_kernel() or socket.gethostname()):
        return None
    return holder if is_alive(holder.pid, holder.since) else None


def is_alive(pid: int, since: str) -> bool:
    """Whether a process runs that ran at a time (ISO 8601), and not another one that got its number later."""
    try:
        process = psutil.Process(pid)
        # The clock of the kernel has steps of 10 ms.
        began_before = process.create_time() <= datetime.fromisoformat(since).timestamp() + 1
        return began_before and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _take(
    file: Path, folder: Path, me: Holder, waiting: Callable[[str], None], check: Callable[[], None], timeouts: Timeouts
) -> int:
    """Waits for the lock and returns the open file."""
    begun = changed = time.monotonic()
    content, lives, reported = None, False, False
    while True:
        handle, locked = _open(file, folder)
        try:
            seen = _content(file)
            now = time.monotonic()
            if content is not None and seen != content:
                changed, lives = now, True
            content, holder = seen, _holder(seen)
            here = holder is not None and holder.kernel == me.kernel
            # A kernel grants the lock to one process only.
            left = locked is True and (holder is None or here)
            silent = now - changed >= (timeouts.silence if holder else timeouts.look)
            if left or (locked is not False and silent):
                _write(handle, me)
                if not left:
                    # Another machine may try the same at the same time. The last one to write holds the lock.
                    time.sleep(timeouts.look * 4)
                if _same(file, handle) and _holder(_content(file)) == me:
                    handle, taken = -1, handle
                    return taken
                continue
            lives = lives or (locked is False and here)
            if now - begun >= (timeouts.holder if lives else timeouts.server):
                raise StorageUnavailable(
                    f"another process writes to {folder}: {holder or 'its name is not known'}. Wait for its "
                    "end or stop it, or choose another output folder."
                )
            if not reported and holder:
                waiting(f"waiting for another process that writes to {folder}: {holder}")
                reported = True
        finally:
            if handle >= 0:
                os.close(handle)
        check()
        time.sleep(timeouts.look)


def _open(file: Path, folder: Path) -> tuple[int, bool | None]:
    """Opens the file, and returns whether this process has its lock; None if the file system has no locks."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageUnavailable.of(error, folder) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return handle, False
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return handle, None
        os.close(handle)
        raise
    # The last holder may have removed the file in the meantime. The lock of a removed file excludes nobody.
    return handle, _same(file, handle)


def _renew(
    file: Path,
    folder: Path,
    handle: int,
    me: Holder,
    ended: threading.Event,
    lost: Callable[[str], None],
    timeouts: Timeouts,
) -> None:
    while not ended.wait(timeouts.renewal):
        holder = _holder(_content(file))
        if holder and holder != me:
            lost(f"{holder} has taken {folder} from this process, which had stopped for too long")
            return
        try:
            _write(handle, me)
        except OSError:
            # The volume is full or not available at the moment: the run itself will fail.
            continue


def _write(handle: int, me: Holder) -> None:
    content = (json.dumps({**asdict(me), "renewed": _now()}) + "\n").encode()
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))
    os.fsync(handle)


def _content(file: Path) -> bytes:
    try:
        # Opened again, so that a network file system asks its server.
        return file.read_bytes()
    except OSError:
        return b""


def _holder(content: bytes) -> Holder | None:
    try:
        said = json.loads(content)
        return Holder(*(said[name] for name in ("host", "pid", "since", "kernel", "mark")))
    except (ValueError, LookupError, TypeError):
        return None


def _same(file: Path, handle: int) -> bool:
    try:
        there = file.stat()
    except OSError:
        return False
    mine = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _kernel() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
