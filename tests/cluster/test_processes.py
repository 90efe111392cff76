import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import processes
from tests.cluster.layout import ROOT
from tests.cluster.processes import NotReady, Processes, run, succeeds
from tests.cluster.shared import runs
from tests.patience import PATIENCE


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logs of their own."""
    monkeypatch.setattr(processes, "LOGS", tmp_path / "logs")
    return tmp_path / "logs"


@pytest.fixture
def parts() -> Iterator[Processes]:
    """Processes that are stopped in the end."""
    running = Processes()
    yield running
    running.stop_all()


def test_a_condition_is_waited_for(parts: Processes, tmp_path: Path) -> None:
    parts.start("server", ["sh", "-c", f"sleep 0.2; echo ready; touch {tmp_path}/there; sleep 60"])
    parts.until("server", (tmp_path / "there").exists, PATIENCE)
    assert (processes.LOGS / "server.log").read_text() == "ready\n"


def test_a_process_that_ends_early_is_reported_at_once_with_the_end_of_its_log(parts: Processes) -> None:
    parts.start("server", ["sh", "-c", "seq 100; echo no port >&2; exit 3"])
    with pytest.raises(NotReady) as caught:
        parts.until("server", lambda: False, PATIENCE)
    assert str(caught.value).startswith("server ended with 3:\n87\n")
    assert str(caught.value).endswith("100\nno port")


def test_a_process_that_takes_too_long_is_not_ready(parts: Processes) -> None:
    parts.start("server", ["sleep", "60"])
    with pytest.raises(NotReady, match="server is not ready"):
        parts.until("server", lambda: False, 0.1)


def test_a_process_that_ignores_sigterm_is_killed(
    parts: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    parts.start("server", ["sh", "-c", f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"])
    parts.until("server", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "", PATIENCE)
    parts.stop("server")
    assert not runs(int((tmp_path / "pid").read_text()))


def test_processes_stop_in_reverse_order(parts: Processes, tmp_path: Path) -> None:
    for name in ("first", "second"):
        obey = (
            f"trap 'echo {name} >> {tmp_path}/order; exit' TERM; touch {tmp_path}/{name}; while :; do sleep 0.05; done"
        )
        parts.start(name, ["sh", "-c", obey])
        parts.until(name, (tmp_path / name).exists, PATIENCE)
    parts.stop_all()
    assert (tmp_path / "order").read_text() == "second\nfirst\n"


PARENT = """
import sys, time
from pathlib import Path
from tests.cluster import processes
processes.LOGS = Path(sys.argv[1])
parts = processes.Processes()
parts.start("child", ["sleep", "60"])
print(parts._running["child"].pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_processes_end_with_a_killed_parent(logs: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(logs)], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert runs(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + PATIENCE
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_error_of_a_failed_command_has_its_output() -> None:
    assert run("cat", stdin=b"words") == "words"
    assert succeeds("true") and not succeeds("false")
    with pytest.raises(NotReady, match="no such thing"):
        run("sh", "-c", "echo no such thing >&2; exit 1")
