"""Kills runs at random moments of every phase, and compares the exports of the resumed runs with that of an undisturbed
run, bit for bit.

    python -m benchmarks.kills --kills 20 --output kills.txt

Each run is a complete small training with the embedded model: class images, 40 steps, export, samples, evaluation. The
kills aim at the phases in turn: a run is started, killed with SIGKILL at a random moment after the begin of the phase,
and started again until it is done. The moment is uniform in the duration of the phase in the undisturbed run. A run
that ends before its moment is repeated with an earlier one. For each kill, a line shows the intended phase, the second,
the phase that was hit, and whether the weights and the loss curve are equal.
"""

import hashlib
import json
import random
import shutil
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.warm_start import warm_start
from dreambooth_api.progress import PHASES
from dreambooth_trainer.result import read_result
from dreambooth_trainer.run import RunFolder

PHOTOS = Path(__file__).parents[1] / "examples" / "dog" / "photos"

SETTINGS = {
    "model": {"source": "embedded://emoji"},
    "subject": {"class": "dog", "identifier": "auto", "images": {"path": str(PHOTOS)}},
    "prior": {"images": 8, "batchSize": 4, "sampler": {"steps": 5}},
    "training": {"steps": 40, "batchSize": 2, "learningRate": 1e-4, "trainTextEncoder": True, "stopping": "best"},
    "checkpoints": {"intervalSeconds": 0},
    "samples": {"prompts": ["a {identifier} {class}"], "perPrompt": 2, "steps": 5},
    "evaluation": {"contexts": ["on the beach", "at night"], "otherClasses": ["cat", "car"], "perPrompt": 2},
}


def main(
    kills: Annotated[int, typer.Option(help="Number of runs, each of which is killed once.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    output: Annotated[Path | None, typer.Option(help="File for the table, which is also printed.")] = None,
) -> None:
    """Prints the table; exits with 1 if any run differs."""
    moments = random.Random(seed)
    lines: list[str] = []

    def report(line: str) -> None:
        typer.echo(line)
        lines.append(line)
        if output:
            output.write_text("\n".join(lines) + "\n")

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        # The first start waits for the imports.
        _finish(root / "warm-up")
        _finish(root / "undisturbed")
        undisturbed = RunFolder(root / "undisturbed" / "output")
        wanted, seconds = fingerprint(undisturbed), read_result(undisturbed.result).seconds
        report("undisturbed run: " + ", ".join(f"{phase} {took} s" for phase, took in seconds.items()))
        report(f"{'kill':>4}  {'aimed at':8}  {'second':>6}  {'hit':26}  equal")
        equal = 0
        for number in range(1, kills + 1):
            phase = PHASES[(number - 1) % len(PHASES)]
            moment, hit = _kill(root / str(number), phase, moments.uniform(0, seconds[phase]))
            same = fingerprint(RunFolder(root / str(number) / "output")) == wanted
            equal += same
            report(f"{number:4}  {phase:8}  {moment:6.2f}  {hit:26}  {'yes' if same else 'NO'}")
        report(f"{equal} of {kills} equal")
    raise typer.Exit(0 if equal == kills else 1)


def fingerprint(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of the exported weights and of the loss curve, by file."""
    files = [folder.losses, *sorted(folder.model.rglob("*.safetensors"))]
    return {str(file.relative_to(folder.root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def where(folder: Path) -> str:
    """The phase of a run by its log, and its progress by its files."""
    output = RunFolder(folder / "output")
    if output.complete.exists():
        return "complete"
    begun = [line.partition(":")[0] for line in (folder / "log").read_text().splitlines()]
    phase = next((name for name in reversed(begun) if name in PHASES), "start")
    if phase == "prior":
        return f"prior, {len(list((folder / 'cache').glob('class-images/*/[0-9]*')))} images"
    if phase == "train" and output.losses.exists():
        writing = any(output.checkpoints.glob(".step-*"))
        return f"train, step {len(output.losses.read_text().splitlines())}{'+, saving' if writing else '+'}"
    return phase


def _kill(folder: Path, phase: str, moment: float) -> tuple[float, str]:
    """Kills a run once, `moment` seconds after a phase began, and then runs it to its end.

    Returns:
        The moment of the kill and the phase that was hit.
    """
    process = _start(folder)
    while process.is_alive() and f"{phase}: started" not in (folder / "log").read_text():
        time.sleep(0.002)
    process.join(moment)
    if process.exitcode is not None:
        shutil.rmtree(folder)
        return _kill(folder, phase, moment * 0.8)
    process.kill()
    process.join()
    hit = where(folder)
    _finish(folder)
    return moment, hit


def _start(folder: Path) -> BaseProcess:
    folder.mkdir(exist_ok=True)
    (folder / "log").touch()
    (folder / "train.json").write_text(json.dumps(SETTINGS))
    arguments = [
        *("--config", str(folder / "train.json")),
        *("--output", str(folder / "output"), "--cache", str(folder / "cache")),
    ]
    return warm_start(arguments, folder / "log")


def _finish(folder: Path) -> None:
    """Runs a training to its end."""
    process = _start(folder)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the run ended with {process.exitcode}:\n{(folder / 'log').read_text()}")


if __name__ == "__main__":
    typer.run(main)
