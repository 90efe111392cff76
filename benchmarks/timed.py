"""Runs a program, and records its output with times, and its memory. Used by `speed.py`."""

import os
import re
import shutil
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_DEVICE_INTERVAL = 0.2
"""Seconds between two reads of the GPU's memory."""

_LINES_INTERVAL = 0.02
"""Seconds between two reads of a growing file."""


@dataclass(frozen=True)
class Mark:
    """A piece of a program's output."""

    seconds: float
    """Since its start."""
    text: str
    """A line, or a state of a progress bar that overwrites itself."""


@dataclass(frozen=True)
class Finished:
    """The measurements of a finished program."""

    started: float
    """Time of the start, seconds since 1970."""
    seconds: float
    """Wall time."""
    marks: list[Mark]
    memory: int
    """Peak resident memory of the largest process of the program, bytes. At least that of the process that started it,
    since the system counts its memory until the program replaces it."""
    device_memory: int | None
    """Peak memory in use on the first GPU, minus the memory that was in use before, bytes; None without an NVIDIA
    GPU."""
    lines: list[tuple[float, int]]
    """Times in seconds since the start, with the number of lines in the watched file, at each increase."""


class ProgramFailed(Exception):
    """A program ended with an error; the message has its last lines."""


def run_timed(command: Sequence[str], log: Path, watched: Path | None = None) -> Finished:
    """Runs a program and writes its output to `log`.

    Args:
        command: the program.
        log: file of its output.
        watched: a file to which the program adds a line for each piece of work.

    Raises:
        ProgramFailed: its exit code is not 0.
    """
    with _DeviceMemory() as device, _Lines(watched) as lines:
        started = time.time()
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            marks = _marks(program, started, log)
        except BaseException:
            program.kill()
            raise
        # The resource usage of this child process: its own peak, or that of a child that it waited for, if that is
        # larger.
        _, status, usage = os.wait4(program.pid, 0)
        seconds = time.time() - started
    program.returncode = os.waitstatus_to_exitcode(status)
    if program.returncode:
        last = "\n".join(mark.text for mark in marks[-15:])
        raise ProgramFailed(f"{' '.join(command)} ended with code {program.returncode}:\n{last}")
    return Finished(started, seconds, marks, usage.ru_maxrss * 1024, device.peak, lines.since(started))


def _marks(program: subprocess.Popen[bytes], started: float, log: Path) -> list[Mark]:
    """The output of a program until it closes it."""
    assert program.stdout
    marks: list[Mark] = []
    with program.stdout, log.open("wb") as file:
        while chunk := os.read(program.stdout.fileno(), 1 << 16):
            file.write(chunk)
            marks += [Mark(time.time() - started, text) for text in pieces(chunk)]
    return marks


def pieces(chunk: bytes) -> list[str]:
    """Lines and states of progress bars in a chunk of output; both programs flush complete ones."""
    return [text for text in re.split(r"[\r\n]+", chunk.decode(errors="replace")) if text.strip()]


class _Watch(ABC):
    """Takes repeated measurements in a thread while the block runs."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on)

    @abstractmethod
    def look(self) -> bool:
        """Takes one measurement, and returns whether to continue."""

    def __enter__(self) -> Self:
        # The first measurement must end before the program starts.
        if self.look():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(self._interval):
            self.look()


class _Lines(_Watch):
    """Records the number of lines in a file over time."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(_LINES_INTERVAL)
        self._file = file
        self._readings: list[tuple[float, int]] = []

    def since(self, started: float) -> list[tuple[float, int]]:
        """The readings, with times relative to `started`."""
        return [(seconds - started, lines) for seconds, lines in self._readings]

    def look(self) -> bool:
        if self._file is None:
            return False
        lines = self._file.read_bytes().count(b"\n") if self._file.exists() else 0
        if lines > (self._readings[-1][1] if self._readings else 0):
            self._readings.append((time.time(), lines))
        return True


class _DeviceMemory(_Watch):
    """Reads the memory in use on the first GPU several times a second, in the same way for every program."""

    def __init__(self) -> None:
        super().__init__(_DEVICE_INTERVAL)
        self._readings: list[int] = []

    @property
    def peak(self) -> int | None:
        """Bytes above the first reading; None without an NVIDIA GPU."""
        return max(self._readings) - self._readings[0] if self._readings else None

    def look(self) -> bool:
        if program := shutil.which("nvidia-smi"):
            query = [program, "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
            answer = subprocess.run(query, capture_output=True, text=True)
            if answer.returncode == 0:
                self._readings.append(int(answer.stdout) * 2**20)
        return bool(self._readings)
