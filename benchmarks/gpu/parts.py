"""The parts of the check, each of which is a process: `python -m benchmarks.gpu.parts NAME FOUND SETTINGS`, started by
`check.py`."""

import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.gpu.found import SKIPPED_CODE, Found, Settings, pytest_summary, speeds
from benchmarks.programs import EXAMPLES, Base, Subject, base_model, trainer_command
from benchmarks.speed import SCRIPT, Arm, Measured, Size, measure, tables, trainer_config
from benchmarks.timed import ProgramFailed, run_timed
from dreambooth_api.training import TrainConfig
from dreambooth_trainer import embedded

if TYPE_CHECKING:
    from benchmarks.gpu.steps import Case

ROOT = Path(__file__).resolve().parents[2]
DOG = Subject("dog")


class Skipped(Exception):
    """The part needs something that is missing."""


class Failed(Exception):
    """A part of the check failed."""


def tests(settings: Settings, found: Found) -> None:
    """The trainer's tests, except the slow ones. They use the GPU if the trainer does."""
    which = "training/test_lr_schedule.py" if settings.pretend else ""
    _pytest(settings, found, which, "not slow and not gpu and not cluster", "-n", "8")


def gpu_tests(settings: Settings, found: Found) -> None:
    """The tests that need a GPU."""
    _pytest(settings, found, "test_gpu.py", "gpu", "-rfEP", "-n", "4")


def slow_tests(settings: Settings, found: Found) -> None:
    """The slow tests, some of which use the embedded model."""
    _need_embedded_weights()
    which = "test_failures.py::TestModelUnavailable" if settings.pretend else ""
    _pytest(settings, found, which, "slow and not gpu and not cluster", "-n", "8")


def speed_1(settings: Settings, found: Found) -> None:
    """Speed compared with diffusers' script, with batches of one photo and one class image."""
    _speed(settings, found, batch=1)


def speed_4(settings: Settings, found: Found) -> None:
    """Speed compared with diffusers' script, with batches of four photos and four class images."""
    _speed(settings, found, batch=4)


def steps(settings: Settings, found: Found) -> None:
    """The training step alone: Stable Diffusion 1.5 and XL."""
    # Imported late: in the other parts, the measured memory of a program is at least that of the process that starts
    # it.
    from benchmarks.gpu.steps import STABLE_DIFFUSION

    _measure_cases(settings, found, STABLE_DIFFUSION)


def transformers(settings: Settings, found: Found) -> None:
    """The training step alone: adapters of the large transformers."""
    from benchmarks.gpu.steps import FLOW_TRANSFORMERS

    _measure_cases(settings, found, FLOW_TRANSFORMERS)


def memory(settings: Settings, found: Found) -> None:
    """Peak memory on the GPU by method, with batches of 1+1.

    Class images are generated one at a time, so that the training determines the peak.
    """
    base = _base(settings)
    size = Size(steps=4 if settings.pretend else 20, batch=1, class_images=2, sample_batch=1, text_encoder=False)
    config = trainer_config(Arm.DEFAULTS, base, DOG, size)
    for method in ("full", "lora"):
        training = {"method": method, "learningRate": 1e-4}
        changed = _with(config, prior={"batchSize": 1, "noisings": 1}, training=training)
        folder = _empty(settings, f"memory-{method}")
        with _shown(folder):
            command = trainer_command(changed, folder / "output", folder / "cache")
            finished = run_timed(command, folder / "log")
        peak = finished.device_memory
        found.figures[method] = {
            "deviceMemoryGib": None if peak is None else peak / 2**30,
            "hostMemoryGib": finished.memory / 2**30,
            "seconds": finished.seconds,
        }
        found.summary = "peak GPU GiB: " + ", ".join(
            f"{name} {'none' if one['deviceMemoryGib'] is None else format(one['deviceMemoryGib'], '.2f')}"
            for name, one in found.figures.items()
        )
        found.save()


def example(settings: Settings, found: Found) -> None:
    """The complete run of the example with the command line, and pictures of its model."""
    _need_embedded_weights()
    folder = _empty(settings, "example")
    manifest = EXAMPLES / "dog" / "dreamboothjob.yaml"
    if settings.pretend:
        manifest = _shortened(manifest, folder / "dreamboothjob.yaml")
    output, pictures = folder / "output", folder / "pictures"
    _command_line("run", str(manifest), "--output", str(output), "--cache", str(folder / "cache"))
    result = json.loads((output / "result.json").read_text())
    begun = time.monotonic()
    prompt = "a {identifier} {class} wearing sunglasses"
    _command_line("generate", str(output), prompt, "--count", "4", "--output", str(pictures))
    seconds = {**result["seconds"], "generate": time.monotonic() - begun}
    generated = len(list(pictures.rglob("*.png")))
    found.figures = {
        "device": result["device"],
        "seconds": seconds,
        "figures": result["figures"],
        "generated": generated,
    }
    figures = {name: result["figures"][name] for name in ("subjShare", "presChange", "divClassRatio", "keep", "follow")}
    found.summary = "; ".join(
        (
            "seconds: " + ", ".join(f"{phase} {value:.1f}" for phase, value in seconds.items()),
            ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None),
        )
    )
    found.save()
    if generated < 4:
        raise Failed(f"`dreambooth generate` generated {generated} pictures of 4")


PARTS: Mapping[str, tuple[Callable[[Settings, Found], None], float]] = {
    "tests": (tests, 180),
    "gpu-tests": (gpu_tests, 150),
    "steps": (steps, 180),
    "transformers": (transformers, 180),
    "speed-1": (speed_1, 200),
    "speed-4": (speed_4, 200),
    "memory": (memory, 90),
    "slow-tests": (slow_tests, 240),
    "example": (example, 120),
}
"""The parts, the most important first, each with its time limit in seconds."""


def _pytest(settings: Settings, found: Found, which: str, marks: str, *more: str) -> None:
    command = [sys.executable, "-m", "pytest", f"tests/trainer/{which}", "-m", marks]
    command += ["-v", "--tb=short", "--durations=8", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=60"]
    if not settings.pretend:
        command += more
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as program:
        assert program.stdout
        lines = []
        for line in program.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    ended = pytest_summary("".join(lines))
    found.summary, found.figures = ended.summary, {"counts": ended.counts, "failing": ended.failing}
    found.save()
    if program.returncode:
        raise Failed(f"pytest ended with code {program.returncode}")


def _speed(settings: Settings, found: Found, batch: int) -> None:
    if settings.script is None:
        raise Skipped("no --script")
    begun, base = time.monotonic(), _base(settings)
    # Half of the class images are generated with the empty prompt, in batches of 16 by default: 32 fill them.
    steps, images = (4, 4) if settings.pretend else (100, 32)
    size = Size(steps, batch, images, sample_batch=4, text_encoder=settings.text_encoder)
    measured: list[Measured] = []
    problems: list[str] = []
    phases: dict[str, Mapping[str, float]] = {}
    longest = 0.0
    for program in (SCRIPT, Arm.DEFAULTS, Arm.SAME):
        if program is Arm.SAME and time.monotonic() - begun + 1.1 * longest > settings.seconds:
            break
        folder = _empty(settings, f"speed-{batch}-{program}")
        try:
            with _shown(folder):
                one = measure(program, 1, Path(settings.script), base, DOG, size, folder)
        except (ProgramFailed, ValueError) as error:
            problems.append(f"{program}: {str(error).splitlines()[-1]}")
            continue
        finally:
            result = folder / "output" / "result.json"
            if result.exists():
                phases[program] = json.loads(result.read_text())["seconds"]
                print(program, phases[program], flush=True)
            shutil.rmtree(folder / "output", ignore_errors=True)
        longest = max(longest, one.seconds)
        measured.append(one)
        arms = [one for one in measured if one.program != SCRIPT]
        found.summary, found.figures = (
            speeds(measured),
            {one.program: {**asdict(one), "phases": phases.get(one.program)} for one in measured},
        )
        found.table = tables(measured) if arms and len(arms) < len(measured) else ""
        found.save()
    if problems:
        found.summary = "; ".join(filter(None, (*problems, found.summary)))
        found.save()
        raise Failed("; ".join(problems))


def _measure_cases(settings: Settings, found: Found, cases: "Sequence[Case]") -> None:
    from benchmarks.gpu.steps import measure_cases, table

    for name, measured in measure_cases(cases, _empty(settings, "models"), small=settings.pretend):
        found.figures[name] = measured
        print(name, measured, flush=True)
        found.summary = "steps/s: " + ", ".join(
            f"{one} {format(it['stepsPerSecond'], '.2f') if 'stepsPerSecond' in it else 'failed'}"
            for one, it in found.figures.items()
        )
        found.table = table(found.figures)
        found.save()


def _base(settings: Settings) -> Base:
    """The embedded model with `--pretend`, else a model of Stable Diffusion 1.5's size."""
    if settings.pretend:
        _need_embedded_weights()
    return base_model(not settings.pretend, Path(settings.work))


def _need_embedded_weights() -> None:
    if not list(embedded.path("emoji").rglob("*.safetensors")):
        raise Skipped("the embedded weights are missing")


def _empty(settings: Settings, name: str) -> Path:
    folder = Path(settings.work).absolute() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _shown(folder: Path) -> Iterator[None]:
    """Prints the `log` of a program to the log of this part."""
    try:
        yield
    finally:
        log = folder / "log"
        print(f"--- {folder.name}\n{log.read_text(errors='replace') if log.exists() else ''}", flush=True)


def _with(config: TrainConfig, **sections: Mapping[str, Any]) -> TrainConfig:
    """A configuration with some fields of its sections replaced."""
    settings = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return TrainConfig.model_validate(
        {**settings, **{name: {**settings[name], **more} for name, more in sections.items()}}
    )


def _shortened(manifest: Path, target: Path) -> Path:
    """The manifest with few steps and pictures, and its ConfigMap."""
    documents = list(yaml.safe_load_all(manifest.read_text()))
    (spec,) = (document["spec"] for document in documents if document["kind"] == "DreamBoothJob")
    spec["prior"]["images"] = spec["training"]["steps"] = 4
    spec["samples"] |= {"prompts": spec["samples"]["prompts"][:1], "perPrompt": 1, "steps": 2}
    spec["evaluation"] = {"contexts": ["at night", "in the snow"], "otherClasses": ["cat", "car"], "perPrompt": 2}
    target.write_text(yaml.safe_dump_all(documents))
    return target


def _command_line(*arguments: str) -> None:
    """Runs the project's command, which need not be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["dreambooth"].split(":")
    call = f"import sys; from {module} import {function}; sys.argv[0] = 'dreambooth'; sys.exit({function}())"
    ended = subprocess.run([sys.executable, "-c", call, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL)
    if ended.returncode:
        raise Failed(f"dreambooth {arguments[0]} ended with code {ended.returncode}")


def main(name: str, file: str, settings: str) -> int:
    """Runs one part, and returns its exit code."""
    found = Found(Path(file))
    try:
        PARTS[name][0](Settings(**json.loads(settings)), found)
    except Skipped as reason:
        found.summary = str(reason)
        found.save()
        return SKIPPED_CODE
    return 0


if __name__ == "__main__":
    # At its time limit, a part still prints the log of its program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(*sys.argv[1:]))
