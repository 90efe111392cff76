"""Access of tests to the cluster: the running one, or one that starts with the first request and ends with the test run."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.cluster.layout import KUBECONFIG, ROOT, RUN, STATE, SUPERVISOR_LOG
from tests.cluster.processes import NotReady

STOP_SECONDS = 60


class State(NamedTuple):
    """The state of a cluster, as its supervisor writes it."""

    pid: int
    """The supervisor."""
    owner: int
    """Process with which the cluster ends; 0: none."""
    binaries: str
    """Folder of the binaries."""
    no_node: str | None
    """Why it has no node; None: it has one."""


def read_state(path: Path | None = None) -> State | None:
    """The cluster that runs on this machine, or the one that writes its state to another path."""
    path = path or STATE
    try:
        state, written = State(**json.loads(path.read_text())), path.stat().st_mtime
        # A supervisor that was killed leaves its file, and another process may get its process id.
        return state if runs(state.pid) and psutil.Process(state.pid).create_time() <= written else None
    except (OSError, ValueError, TypeError, psutil.NoSuchProcess):
        return None


def runs(pid: int) -> bool:
    """Whether a process has not ended; a zombie has ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def join(owner: int, *, with_node: bool = True) -> State:
    """The running cluster; if there is none, starts one that ends with its owner.

    Args:
        owner: process of the test run.
        with_node: whether a cluster that is started now gets a node.

    Raises:
        NotReady: it does not come up.
    """
    with RUN.with_suffix(".join").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read_state()
        if state:
            return state
        return _started(owner, with_node=with_node, folder=RUN.parent)


@contextmanager
def own(folder: Path) -> Iterator[tuple[State, Path]]:
    """A cluster without a node that nobody else finds, and the kubeconfig of its administrator.

    Args:
        folder: takes the place of the folder for temporary files.

    Raises:
        NotReady: it does not come up.
    """
    state = _started(os.getpid(), with_node=False, folder=folder)
    try:
        yield state, folder / KUBECONFIG.relative_to(RUN.parent)
    finally:
        _end(state)


def _started(owner: int, *, with_node: bool, folder: Path) -> State:
    log, path = (folder / place.relative_to(RUN.parent) for place in (SUPERVISOR_LOG, STATE))
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "tests.cluster", "supervise", f"--owner={owner}"]
        command.append("--node" if with_node else "--no-node")
        environment = {**os.environ, "TMPDIR": str(folder)}
        supervisor = subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True, env=environment
        )
    while (state := read_state(path)) is None:
        if supervisor.poll() is not None:
            raise NotReady(log.read_text())
        time.sleep(0.2)
    return state


def leave(owner: int) -> None:
    """Ends the cluster that a test run has started, and waits until nothing is left of it."""
    state = read_state()
    if state is not None and state.owner == owner:
        _end(state)


def _end(state: State) -> None:
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while runs(state.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
