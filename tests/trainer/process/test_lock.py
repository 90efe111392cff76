"""One writer in a folder: of this machine, of others, and where the file system has no locks."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from dreambooth_api.failures import Interrupted, StorageUnavailable
from dreambooth_trainer.process.lock import Holder, Timeouts, one_writer
from tests.patience import PATIENCE

pytestmark = pytest.mark.timed

QUICK = Timeouts(holder=0.6, renewal=0.05, silence=2.0, server=PATIENCE, look=0.02)


class Watch:
    """What a lock reports to its user."""

    def __init__(self) -> None:
        """Starts without reports."""
        self.waiting: list[str] = []
        self.lost = threading.Event()
        self.stop = False

    def check(self) -> None:
        """Ends the waiting if the test requests it."""
        if self.stop:
            raise Interrupted("stopped")

    def hold(self, file: Path, timeouts: Timeouts = QUICK) -> AbstractContextManager[None]:
        """The lock."""
        return one_writer(
            file,
            file.parent.parent,
            waiting=self.waiting.append,
            check=self.check,
            lost=lambda message: self.lost.set(),
            timeouts=timeouts,
        )


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "state" / "lock"


def hold_until_killed(file: Path) -> None:
    with Watch().hold(file):
        time.sleep(PATIENCE)


@contextmanager
def holder(file: Path) -> Iterator[BaseProcess]:
    """Another process that holds the folder."""
    process = multiprocessing.get_context("fork").Process(target=hold_until_killed, args=(file,))
    process.start()
    while not file.exists() or not file.read_bytes():
        assert process.is_alive()
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


def on_another_machine(file: Path) -> Callable[[], None]:
    """Writes the file as a process of another machine does; the returned function renews it."""
    file.parent.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        holder = {"host": "node-b", "pid": 7, "since": "2026-01-01", "kernel": "another", "mark": "b"}
        content = json.dumps(holder | {"renewed": f"{time.time():.6f}"}).encode()
        # In place, as the trainer does: a file that is truncated first has no holder for a moment.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(handle, content, 0)
        os.ftruncate(handle, len(content))
        os.close(handle)

    write()
    return write


@contextmanager
def living(renew: Callable[[], None]) -> Iterator[None]:
    """Renews the file as a process of another machine does."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(QUICK.renewal):
            renew()

    thread = threading.Thread(target=go_on)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_the_lock_is_there_while_it_is_held(file: Path, watch: Watch) -> None:
    with watch.hold(file):
        content = json.loads(file.read_text())
        assert (content["pid"], content["kernel"]) == (os.getpid(), Holder.this().kernel)
        time.sleep(3 * QUICK.renewal)
        assert json.loads(file.read_text())["renewed"] > content["renewed"]
    assert not file.exists()
    assert watch.waiting == []


def test_the_second_process_reports_who_holds_the_lock(file: Path, watch: Watch) -> None:
    with holder(file) as process:
        with pytest.raises(StorageUnavailable) as refused, watch.hold(file):
            pass
        words = (
            f"another process writes to {file.parent.parent}: process {process.pid} on {Holder.this().host} since 20"
        )
        assert words in str(refused.value)
        assert len(watch.waiting) == 1
        assert file.exists()


def test_the_second_process_continues_if_the_first_ends_in_time(file: Path, watch: Watch) -> None:
    with holder(file) as process:
        threading.Timer(0.2, process.terminate).start()
        with watch.hold(file, Timeouts(holder=PATIENCE, look=0.02)):
            assert json.loads(file.read_text())["pid"] == os.getpid()


def test_the_lock_of_a_killed_process_does_not_block(file: Path, watch: Watch) -> None:
    with holder(file) as process:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert file.exists()
        with watch.hold(file, Timeouts(holder=0, silence=60, server=0)):
            pass
    assert watch.waiting == []


def test_a_waiting_process_can_be_stopped(file: Path, watch: Watch) -> None:
    watch.stop = True
    with holder(file), pytest.raises(Interrupted), watch.hold(file, Timeouts(holder=PATIENCE)):
        pass


@pytest.mark.parametrize("locks", [True, False])
class TestAnotherMachine:
    """Its locks are invisible here, or the file system has no locks."""

    @pytest.fixture(autouse=True)
    def _file_system(self, locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if not locks:

            def refuse(*_: object) -> None:
                raise OSError(errno.ENOLCK, "No locks available")

            monkeypatch.setattr(fcntl, "flock", refuse)

    def test_a_machine_that_writes_keeps_the_folder(self, file: Path, watch: Watch) -> None:
        with (
            living(on_another_machine(file)),
            pytest.raises(StorageUnavailable, match="process 7 on node-b since 2026"),
            watch.hold(file),
        ):
            pass

    def test_a_machine_that_vanished_does_not_block(self, file: Path, watch: Watch) -> None:
        on_another_machine(file)
        with watch.hold(file):
            assert json.loads(file.read_text())["pid"] == os.getpid()

    def test_taking_the_folder_from_a_suspended_process_is_noticed(self, file: Path, watch: Watch) -> None:
        with watch.hold(file):
            on_another_machine(file)
            assert watch.lost.wait(PATIENCE)
        assert json.loads(file.read_text())["host"] == "node-b"

    def test_a_free_lock_is_taken(self, file: Path, watch: Watch) -> None:
        with watch.hold(file):
            pass
        assert watch.waiting == []
        assert not file.exists()


def test_a_lock_that_the_file_server_still_holds_is_waited_for(file: Path, watch: Watch) -> None:
    on_another_machine(file)
    with file.open() as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        begun = time.monotonic()
        threading.Timer(0.8, lambda: fcntl.flock(kept, fcntl.LOCK_UN)).start()
        with watch.hold(file):
            assert time.monotonic() - begun > 0.7


def test_one_of_many_concurrent_processes_gets_the_lock(file: Path) -> None:
    inside, most = threading.Semaphore(0), []

    def enter() -> None:
        with Watch().hold(file, Timeouts(holder=PATIENCE, look=0.005)):
            inside.release()
            most.append(inside._value)
            time.sleep(0.01)
            inside.acquire()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff"])
def test_an_invalid_lock_file_does_not_block(file: Path, watch: Watch, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with watch.hold(file, Timeouts(holder=0, silence=60, server=0)):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "run").write_text("")
    refused = pytest.raises(StorageUnavailable, match=r"run can't be written to: (Not a directory|File exists)")
    with refused, watch.hold(tmp_path / "run" / "state" / "lock"):
        pass
