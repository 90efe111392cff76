"""One writer at a time in a folder that processes on this and on other machines may share. Taken by `job.py` for a run's folder.

The kernel's lock of a file (flock) tells of every process of this machine, and goes with its holder however that ends. A file
system may share no locks between machines, or have none. The file therefore also says who holds it, and its content changes
every few seconds: one that another machine has left stops changing. Clocks of different machines are never compared.
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

from dreambooth_api.failures import StorageUnavailable

WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What flock says on a file system that has no locks."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds."""

    holder: float = 10.0
    """For a holder that lives to end: an attempt may follow one that is still being stopped."""
    renewal: float = 5.0
    """Between two changes of the file by its holder."""
    silence: float = 30.0
    """Without a change, a holder on another machine is taken for dead."""
    server: float = 120.0
    """For the server of a network file system to give up the lock of a machine that vanished."""
    look: float = 0.25
    """Between two looks."""


@dataclass(frozen=True)
class Holder:
    """Who writes to a folder."""

    host: str
    pid: int
    since: str
    """When it began, ISO 8601."""
    kernel: str
    """Which running kernel it is under: pods of one node have one, under different host names."""
    mark: str
    """Tells it from all others."""

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
    *,
    waiting: Callable[[str], None],
    check: Callable[[], None],
    lost: Callable[[str], None],
    patience: Patience = Patience(),
) -> Iterator[None]:
    """Holds a folder for this process while the block runs.

    Args:
        file: the lock, in the folder; it is there only while somebody holds it, or was killed.
        waiting: told once who holds it, before waiting begins.
        check: called while waiting; raises to end it.
        lost: called from another thread when somebody else has taken the folder from this process, which must not write
            to it any more.
        patience: how long to wait.

    Raises:
        StorageUnavailable: another process holds the folder, or nothing can be written to it.
    """
    me = Holder.this()
    handle = _take(file, me, waiting, check, patience)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(file, handle, me, ended, lost, patience), name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _holder(_content(file)) == me:
            file.unlink(missing_ok=True)
        os.close(handle)


def _take(file: Path, me: Holder, waiting: Callable[[str], None], check: Callable[[], None], patience: Patience) -> int:
    """Waits for the lock and returns the open file."""
    begun = changed = time.monotonic()
    content, lives, told = None, False, False
    while True:
        handle, locked = _open(file)
        try:
            seen = _content(file)
            now = time.monotonic()
            if content is not None and seen != content:
                changed, lives = now, True
            content, holder = seen, _holder(seen)
            here = holder is not None and holder.kernel == me.kernel
            # This kernel would not give the lock to two.
            left = locked is True and (holder is None or here)
            silent = now - changed >= (patience.silence if holder else patience.look)
            if left or (locked is not False and silent):
                _write(handle, me)
                if not left:
                    # Another machine may have come to the same conclusion; the last to write has it.
                    time.sleep(patience.look * 4)
                if _same(file, handle) and _holder(_content(file)) == me:
                    handle, taken = -1, handle
                    return taken
                continue
            lives = lives or (locked is False and here)
            if now - begun >= (patience.holder if lives else patience.server):
                raise StorageUnavailable(
                    f"another run writes to {file.parent.parent}: {holder or 'its name is not known'}. Wait for its end or stop "
                    "it, or choose another output folder."
                )
            if not told and holder:
                waiting(f"waiting for another run that writes to {file.parent.parent}: {holder}")
                told = True
        finally:
            if handle >= 0:
                os.close(handle)
        check()
        time.sleep(patience.look)


def _open(file: Path) -> tuple[int, bool | None]:
    """The file, and whether this process has its lock; None where the file system has none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageUnavailable.of(error, file.parent.parent) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return handle, False
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return handle, None
        os.close(handle)
        raise
    # Its last holder may have removed it meanwhile; then this is the lock of nothing.
    return handle, _same(file, handle)


def _renew(
    file: Path, handle: int, me: Holder, ended: threading.Event, lost: Callable[[str], None], patience: Patience
) -> None:
    while not ended.wait(patience.renewal):
        holder = _holder(_content(file))
        if holder and holder != me:
            lost(f"{holder} has taken {file.parent.parent} from this run, which had stopped for too long")
            return
        try:
            _write(handle, me)
        except OSError:
            # A full volume, or one that is away for a while: the run itself will notice.
            continue


def _write(handle: int, me: Holder) -> None:
    content = (json.dumps({**asdict(me), "renewed": _now()}) + "\n").encode()
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))
    os.fsync(handle)


def _content(file: Path) -> bytes:
    try:
        # Opened anew, so that a network file system asks its server.
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
