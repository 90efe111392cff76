"""The processes of the cluster. They end with the process that started them."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.layout import LOGS

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10.0


class NotReady(Exception):
    """A part of the cluster did not come up."""


class Processes:
    """Running processes by name, stopped in the reverse order of their start."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Starts a process that writes to a log of its name."""
        LOGS.mkdir(parents=True, exist_ok=True)
        with (LOGS / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, env=environment, preexec_fn=_die_with_parent
            )

    def start_with_flags(self, binary: Path, flags: Mapping[str, object]) -> None:
        """Starts a part of Kubernetes, by the name of its binary."""
        self.start(binary.name, [binary, *(f"--{flag}={value}" for flag, value in flags.items())])

    def stop(self, name: str) -> None:
        """Stops a process."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        """Stops all."""
        for name in reversed(list(self._running)):
            self.stop(name)

    def until(self, name: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits until a process is ready.

        Raises:
            NotReady: it ended, or it took longer.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            code = self._running[name].poll()
            if code is not None or time.monotonic() > deadline:
                tail = "\n".join((LOGS / f"{name}.log").read_text(errors="replace").splitlines()[-15:])
                raise NotReady(f"{name} {'is not ready' if code is None else f'ended with {code}'}:\n{tail}")
            time.sleep(0.1)


def succeeds(*command: str | Path) -> bool:
    """Whether a command succeeds."""
    return subprocess.run(list(map(str, command)), capture_output=True).returncode == 0


def run(*command: str | Path, stdin: bytes | None = None) -> str:
    """Runs a command and returns its output.

    Raises:
        NotReady: it failed.
    """
    ended = subprocess.run(list(map(str, command)), capture_output=True, input=stdin)
    if ended.returncode:
        raise NotReady(f"{' '.join(map(str, command))}: {ended.stderr.decode(errors='replace')[-2000:]}")
    return ended.stdout.decode()


def _die_with_parent() -> None:
    """Keeps Ctrl-C of the terminal away, and lets the kernel end the process with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
