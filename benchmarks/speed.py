"""Compares speed and memory of this trainer with diffusers' `train_dreambooth.py`: `python -m benchmarks.speed --script
FILE`.

The runs of the programs alternate, each in its own process and a new folder, so that changes of the machine affect both
programs. A ratio always compares two runs of the same round. README.md defines the measured quantities.
"""

import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.programs import Base, Subject, base_model, script_command, trainer_command
from benchmarks.stages import Stages, stages_of_script, stages_of_trainer, steady_rate, steps_of_script
from benchmarks.timed import Finished, run_timed
from dreambooth_api.training import TrainConfig

IDENTIFIER = "sks"
LEARNING_RATE = 1e-4
SCRIPT = "script"


class Arm(StrEnum):
    """Settings of this project's trainer: those of the script, or the project's defaults."""

    SAME = "same"
    DEFAULTS = "defaults"


@dataclass(frozen=True)
class Size:
    """The amount of work."""

    steps: int
    batch: int
    """Photos in a batch; a batch has the same number of class images."""
    class_images: int
    sample_batch: int
    """Class images that are generated at once."""
    text_encoder: bool = True
    """Whether the text encoder is trained too."""


@dataclass(frozen=True)
class Measured:
    """One run."""

    program: str
    """`script`, or the arm of this project's trainer."""
    round: int
    batch: int
    seconds: float
    first_step_seconds: float
    class_images_per_second: float
    steps_per_second: float
    memory_gib: float
    device_memory_gib: float | None
    steady_steps_per_second: float | None = None


QUANTITIES = {
    "seconds": "whole wall time, s",
    "first_step_seconds": "time to the first training step, s",
    "class_images_per_second": "class images/s",
    "steps_per_second": "training steps/s",
    "steady_steps_per_second": "training steps/s, last half of the steps",
    "memory_gib": "peak memory of the largest process, GiB",
    "device_memory_gib": "peak GPU memory, GiB",
}


def main(
    script: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="diffusers' train_dreambooth.py.")],
    arm: Annotated[list[Arm] | None, typer.Option(help="Settings of this trainer. Default: both.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Rounds, each with one run of every program.")] = 3,
    subject: Annotated[str, typer.Option(help="Example subject.")] = "dog",
    steps: Annotated[int, typer.Option(min=1)] = 300,
    class_images: Annotated[int, typer.Option(min=1)] = 64,
    sample_batch: Annotated[
        int, typer.Option(min=1, help="Class images generated at once; 4 is the script's default.")
    ] = 4,
    gpu: Annotated[
        bool, typer.Option(help="A model of Stable Diffusion 1.5's size at 512 px, batches of 1+1 and 4+4.")
    ] = (False),
    train_text_encoder: Annotated[
        bool | None, typer.Option(help="Whether the text encoder is trained too. Default: only without --gpu.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for the model that is built once.")] = Path("runs/benchmarks"),
) -> None:
    """Measures, and prints a JSON line for each run and Markdown tables at the end."""
    base = base_model(gpu, work)
    measured: list[Measured] = []
    for batch in (1, 4) if gpu else (4,):
        size = Size(
            steps, batch, class_images, sample_batch, not gpu if train_text_encoder is None else train_text_encoder
        )
        for number in range(1, pairs + 1):
            for program in (SCRIPT, *(arm or Arm)):
                with tempfile.TemporaryDirectory() as folder:
                    one = measure(program, number, script, base, Subject(subject), size, Path(folder))
                measured.append(one)
                print(json.dumps(asdict(one)), flush=True)
    print(tables(measured))


def measure(
    program: str, number: int, script: Path, base: Base, subject: Subject, size: Size, folder: Path
) -> Measured:
    """Runs a program once in an empty folder.

    Raises:
        ProgramFailed: it ended with an error.
    """
    output, log = folder / "output", folder / "log"
    if program == SCRIPT:
        class_images = folder / "class-images"
        options = script_options(size)
        finished = run_timed(script_command(script, base, subject, IDENTIFIER, output, class_images, options), log)
        stages, done = stages_of_script(finished.marks), steps_of_script(finished.marks)
    else:
        config = trainer_config(Arm(program), base, subject, size)
        losses = output / "losses.jsonl"
        finished = run_timed(trainer_command(config, output, folder / "cache"), log, watched=losses)
        # The losses are written after the last step and before the weights.
        last_step = losses.stat().st_mtime - finished.started
        stages, done = stages_of_trainer(finished.marks, last_step), finished.lines
    return _measured(program, number, size, finished, stages, steady_rate(done))


def script_options(size: Size) -> dict[str, str | int | float | bool | Path]:
    """Options of the script that differ from its defaults."""
    return {
        "num_class_images": size.class_images,
        "sample_batch_size": size.sample_batch,
        "train_batch_size": size.batch,
        "max_train_steps": size.steps,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
        "train_text_encoder": size.text_encoder,
        "seed": 0,
    }


def trainer_config(arm: Arm, base: Base, subject: Subject, size: Size) -> TrainConfig:
    """The same work for this project's trainer, without the pictures and figures that the script does not have.

    The script generates class images with the sampler of the pipeline, here DDIM, and with diffusers' defaults of 50
    steps and a guidance scale of 7.5. It writes its first checkpoint after 500 steps;
    this trainer writes none.
    """
    prior: dict[str, Any] = {"images": size.class_images}
    training: dict[str, Any] = {
        "steps": size.steps,
        "batchSize": size.batch,
        "learningRate": LEARNING_RATE,
        "trainTextEncoder": size.text_encoder,
        "resolution": base.resolution,
    }
    checkpoints = {}
    if arm is Arm.SAME:
        sampler = {"scheduler": "ddim", "steps": 50, "guidanceScale": 7.5}
        prior |= {"sampler": sampler, "batchSize": size.sample_batch, "unconditionalShare": 0}
        training |= {"mixedPrecision": base.precision}
        checkpoints = {"intervalSeconds": 86_400}
    return TrainConfig.model_validate(
        {
            "model": {"source": base.source},
            "subject": {"class": subject.class_, "identifier": IDENTIFIER, "images": {"path": str(subject.photos)}},
            "prior": prior,
            "training": training,
            "checkpoints": checkpoints,
            "samples": {"prompts": []},
            "evaluation": {"enabled": False},
        }
    )


def _measured(
    program: str, number: int, size: Size, finished: Finished, stages: Stages, steady: float | None
) -> Measured:
    return Measured(
        program=program,
        round=number,
        batch=size.batch,
        seconds=finished.seconds,
        first_step_seconds=stages.first_step,
        class_images_per_second=size.class_images / stages.class_images,
        steps_per_second=size.steps / stages.training,
        memory_gib=finished.memory / 2**30,
        device_memory_gib=None if finished.device_memory is None else finished.device_memory / 2**30,
        steady_steps_per_second=steady,
    )


def tables(measured: Sequence[Measured]) -> str:
    """A Markdown table for each batch size and arm: medians of both programs, and the ratio of each round."""
    batches = sorted({one.batch for one in measured})
    arms = [arm for arm in Arm if any(one.program == arm for one in measured)]
    return "\n\n".join(
        _table([one for one in measured if one.batch == batch], arm) for batch in batches for arm in arms
    )


def _table(measured: Sequence[Measured], arm: Arm) -> str:
    ours = [one for one in measured if one.program == arm]
    theirs = [one for one in measured if one.program == SCRIPT]
    batch = ours[0].batch
    lines = [
        f"**`{arm}`, batches of {batch}+{batch}**",
        "",
        "| | script | this trainer | ratio of each round | median ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    for field, title in QUANTITIES.items():
        rows = [(getattr(our, field), getattr(their, field)) for our, their in zip(ours, theirs, strict=True)]
        if any(value is None for row in rows for value in row):
            continue
        ratios = [our / their for our, their in rows]
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(
            f"| {title} | {medians[1]:.2f} | {medians[0]:.2f} | {each} | **{statistics.median(ratios):.2f}** |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
