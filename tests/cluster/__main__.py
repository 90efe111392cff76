"""A Kubernetes cluster on this machine: `python -m tests.cluster up`, `down`.

The supervisor starts all parts of the cluster and writes a file when they are ready. It stops them and removes their files
at a signal, or when the process that owns the cluster has ended.
"""

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from tests.cluster import images, leftovers, node
from tests.cluster.binaries import CONTROL_PLANE, NODE, ON_PATH, SLOW_TOOLS, TOOLS, built
from tests.cluster.control_plane import ControlPlane
from tests.cluster.layout import KUBECONFIG, LOGS, RUN, STATE
from tests.cluster.processes import NotReady, Processes
from tests.cluster.shared import State, join, read_state, runs
from tests.cluster.volumes import make_volumes

app = typer.Typer(add_completion=False)
LOCK = RUN.with_suffix(".lock")


@app.command()
def up() -> None:
    """Starts a cluster that runs until `down`."""
    if read_state() is None:
        typer.echo(f"starting (a quarter of an hour the first time); logs: {LOGS}")
        try:
            join(owner=0)
        except NotReady as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
    typer.echo(f"export KUBECONFIG={KUBECONFIG}")


@app.command()
def down() -> None:
    """Stops the cluster, or cleans up after one that was killed."""
    state = read_state()
    if state:
        os.kill(state.pid, signal.SIGTERM)
    with _only_one():
        leftovers.sweep()


@app.command()
def load() -> None:
    """Builds the project's images and loads them into the running cluster; prints their names."""
    for target in images.INGREDIENTS:
        typer.echo(images.load(target))


@app.command()
def build(
    slow: Annotated[bool, typer.Option("--slow", help="Also builds those of `make test-slow`.")] = False,
) -> None:
    """Builds the programs of `make test`, without those on the PATH; prints a line for each."""
    names = (*TOOLS, *(SLOW_TOOLS if slow else ()))
    tools = [name for name in names if name not in ON_PATH or not shutil.which(name)]
    try:
        for programs in (CONTROL_PLANE, *([name] for name in tools)):
            built(*programs, report=typer.echo)
    except NotReady as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


@app.command()
def supervise(
    owner: Annotated[int, typer.Option(help="Process with which the cluster ends; 0: none.")] = 0,
    with_node: Annotated[bool, typer.Option("--node/--no-node", help="Whether pods can run in it.")] = True,
) -> None:
    """Runs a cluster until a signal, or until its owner ends."""
    stop = _Stop(owner)
    with _only_one():
        leftovers.sweep()
        reason = node.preflight_failure() if with_node else "the cluster was started for tests that need none"
        RUN.mkdir()
        processes = Processes()
        try:
            _start(processes, owner, reason)
            while not stop.wanted():
                time.sleep(0.3)
        except NotReady as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        finally:
            STATE.unlink(missing_ok=True)
            processes.stop_all()
            leftovers.sweep()


def _start(processes: Processes, owner: int, reason: str | None) -> None:
    binaries = built(*CONTROL_PLANE, *(NODE if reason is None else ()))
    control_plane = ControlPlane(processes, binaries, with_node=reason is None)
    machine = node.Node(processes, binaries, control_plane)
    if reason is None:
        machine.start_network()
    control_plane.start()
    if reason is None:
        machine.start_containerd()
        images.load_pause(binaries / "pause")
        machine.start()
        make_volumes([binaries / "kubectl", f"--kubeconfig={KUBECONFIG}"])
    signal.signal(signal.SIGUSR1, lambda *_: control_plane.stop_api_server())
    signal.signal(signal.SIGUSR2, lambda *_: control_plane.start_api_server())
    state = State(os.getpid(), owner, str(binaries), reason)
    staging = STATE.with_suffix(".new")
    staging.write_text(json.dumps(state._asdict()))
    staging.rename(STATE)


class _Stop:
    """Decides when the cluster must stop."""

    def __init__(self, owner: int) -> None:
        self._owner = owner
        self._stopped = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def wanted(self) -> bool:
        """Whether the cluster must stop."""
        return self._stopped or (self._owner != 0 and not runs(self._owner))

    def _stop(self, *_: object) -> None:
        self._stopped = True
        if not STATE.exists():
            raise SystemExit(1)  # in the middle of a start


@contextmanager
def _only_one() -> Iterator[None]:
    """Waits until no other supervisor is running."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    app()
