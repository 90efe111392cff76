import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import shared
from tests.cluster.shared import State, leave, read_state, runs


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which supervisors describe their cluster."""
    path = tmp_path / "cluster.json"
    monkeypatch.setattr(shared, "STATE", path)
    return path


@contextmanager
def process(program: str = "input()") -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits for a line of input."""
    running = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def state_of(pid: int, owner: int = 0) -> State:
    return State(pid, owner, "/binaries", None)


def write(file: Path, state: State) -> None:
    file.write_text(json.dumps(state._asdict()))


def test_a_running_supervisor_has_a_cluster(file: Path) -> None:
    state = State(os.getpid(), 7, "/binaries", "containers need root on Linux")
    write(file, state)
    assert read_state() == state


def test_without_a_file_there_is_no_cluster() -> None:
    assert read_state() is None


WHOLE = json.dumps(state_of(os.getpid())._asdict())


@pytest.mark.parametrize(
    "text",
    ["", WHOLE[:-10], "[]", "3", "null", "{}", WHOLE.replace("owner", "master"), WHOLE.replace("{", '{"a": 1, ')],
    ids=["empty", "cut", "list", "number", "null", "nothing", "misnamed", "more"],
)
def test_a_file_that_no_supervisor_wrote_is_ignored(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_state() is None


def test_a_killed_supervisor_has_no_cluster(file: Path) -> None:
    with process() as supervisor:
        write(file, state_of(supervisor.pid))
        assert read_state() is not None
        supervisor.kill()
        supervisor.wait()
        assert not runs(supervisor.pid)
        assert read_state() is None


def test_a_zombie_supervisor_has_no_cluster(file: Path) -> None:
    with process("") as supervisor:
        os.waitid(os.P_PID, supervisor.pid, os.WEXITED | os.WNOWAIT)
        write(file, state_of(supervisor.pid))
        assert not runs(supervisor.pid)
        assert read_state() is None


def test_a_process_that_began_later_is_not_the_supervisor(file: Path) -> None:
    write(file, state_of(os.getpid()))
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert read_state() is None


@pytest.mark.parametrize("owner", [0, 2])
def test_a_test_run_does_not_end_the_cluster_of_another(file: Path, owner: int) -> None:
    with process() as supervisor:
        write(file, state_of(supervisor.pid, owner))
        leave(1)
        assert runs(supervisor.pid)


def test_a_test_run_ends_its_own_cluster(file: Path) -> None:
    with process() as supervisor:
        write(file, state_of(supervisor.pid, owner=1))
        leave(1)
        assert not runs(supervisor.pid)


def test_leaving_without_a_cluster_has_no_effect(file: Path) -> None:
    leave(1)
