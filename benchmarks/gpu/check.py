"""Runs all parts of the check one after the other, and writes a line for each, `results.json` and the logs. Started by
`check.sh`."""

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu.found import SKIPPED_CODE, Settings
from benchmarks.gpu.parts import PARTS
from dreambooth_trainer.process.storage import write_json

LIBRARIES = ("torch", "diffusers", "transformers", "deepspeed", "peft", "accelerate")

WORK = Path(tempfile.gettempdir()) / "dreambooth-gpu"

PRETENDED_SECONDS = 900
"""Most seconds of a part with `--pretend`."""

GRACE_SECONDS = 5
"""Seconds in which a terminated part may finish its log."""

TOO_SHORT = 10
"""Seconds that are too few for any part."""


class State(StrEnum):
    """State of a part at its end."""

    OK = "ok"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class Result:
    """State and figures of a part at its end."""

    name: str
    state: State
    seconds: float
    summary: str
    figures: Mapping[str, Any]
    table: str = ""

    def line(self, pretend: bool = False) -> str:
        """The part in one line."""
        mark = "pretend  " if pretend else ""
        return f"{mark}{self.name:<10} {self.state:<7} {self.seconds:5.0f} s  {self.summary}"


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}. Default: all.")] = None,
    script: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="diffusers' train_dreambooth.py.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of results.json and the logs.")] = Path("runs/gpu"),
    work: Annotated[
        Path, typer.Option(help="Folder for the random model and the files of the runs; gigabytes.")
    ] = WORK,
    pretend: Annotated[bool, typer.Option("--pretend", help="Tiny sizes on a CPU, to test the check itself.")] = False,
    train_text_encoder: Annotated[
        bool, typer.Option(help="Whether the text encoder is trained too, in the parts about speed.")
    ] = False,
    minutes: Annotated[float, typer.Option(min=0, help="Time for all parts.")] = 8,
    record: Annotated[Path | None, typer.Option(help="Markdown file to which the results are appended.")] = None,
) -> None:
    """Checks and measures the trainer on the first GPU."""
    if unknown := set(parts or ()) - PARTS.keys():
        raise typer.BadParameter(f"no part is named {', '.join(sorted(unknown))}")
    if record and pretend:
        raise typer.BadParameter("--record can't be used with --pretend")
    output.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(pretend)
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    deadline, results = time.monotonic() + 60 * minutes, list[Result]()
    for name, (_, limit) in PARTS.items():
        if parts and name not in parts:
            continue
        # Even tiny sizes take time on a busy CPU.
        seconds = PRETENDED_SECONDS if pretend else min(limit, deadline - time.monotonic())
        settings = Settings(pretend, str(script.absolute()) if script else None, str(work), train_text_encoder, seconds)
        result = _result(name, settings, output)
        results.append(result)
        print(result.line(pretend), flush=True)
        content = {"machine": machine, "pretend": pretend, "parts": [asdict(one) for one in results]}
        write_json(output / "results.json", content)
    if record:
        with record.open("a") as file:
            file.write(section(machine, results))
    raise typer.Exit(any(one.state in (State.FAILED, State.TIMEOUT) for one in results))


def _result(name: str, settings: Settings, output: Path) -> Result:
    """Runs a part as a process, and terminates it and its child processes at its time limit."""
    if settings.seconds < TOO_SHORT:
        return Result(name, State.SKIPPED, 0, "no time is left", {})
    file, log = output / f"{name}.json", output / f"{name}.log"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.parts", name, str(file), json.dumps(asdict(settings))]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""} if settings.pretend else None
    begun = time.monotonic()
    with log.open("wb") as stream:
        part = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True, env=environment)
        try:
            code: int | None = part.wait(settings.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_session(part)
    found = json.loads(file.read_text()) if file.exists() else {}
    file.unlink(missing_ok=True)
    state = {0: State.OK, SKIPPED_CODE: State.SKIPPED, None: State.TIMEOUT}.get(code, State.FAILED)
    summary = found.get("summary") or (last_line(log) if state is not State.OK else "")
    return Result(
        name, state, time.monotonic() - begun, summary, found.get("figures", {}), table=found.get("table", "")
    )


def _end_session(part: subprocess.Popen[bytes]) -> None:
    """Terminates a part, and kills its remaining processes, which would use the GPU while the next part runs."""
    part.terminate()
    with suppress(subprocess.TimeoutExpired):
        part.wait(GRACE_SECONDS)
    try:
        os.killpg(part.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        part.wait()


def last_line(log: Path) -> str:
    """The last line that is not empty."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def describe_machine(pretend: bool) -> dict[str, str]:
    """GPU, versions and time, for the record of the results."""
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader", "--id=0"]
    program = None if pretend else shutil.which("nvidia-smi")
    answer = subprocess.run([program, *query], capture_output=True, text=True).stdout.strip() if program else ""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "missing"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "card": answer or "none",
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **versions,
    }


def section(machine: Mapping[str, str], results: Sequence[Result]) -> str:
    """A dated section of Markdown."""
    versions = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("date", "card"))
    lines = [
        f"## {machine['date']}: {machine['card']}",
        "",
        f"{versions}.",
        "",
        "| part | result | seconds | figures |",
        "|---|---|---:|---|",
        *(f"| {one.name} | {one.state} | {one.seconds:.0f} | {one.summary} |" for one in results),
        "",
        *(f"{one.table}\n" for one in results if one.table),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
