"""Command lines of the two programs that are compared, and their base model and subjects.

Used by `speed.py` and `fidelity.py`. It imports no large libraries: the peak memory of a child process includes the
memory of the process that starts it.
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from dreambooth_api.training import TrainConfig
from dreambooth_trainer import embedded
from dreambooth_trainer.process.storage import write_json

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

Arguments = Mapping[str, str | int | float | bool | Path]
"""Command-line options by name; True for a flag that is set, False for one that is not."""


@dataclass(frozen=True)
class Base:
    """The base model that both programs personalise, with resolution and precision."""

    source: str
    """The value of `model.source`."""
    folder: Path
    """The same model as a folder in diffusers' layout, for the script."""
    resolution: int
    """Side of the pictures in pixels."""
    precision: Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Subject:
    """One of the example subjects."""

    name: str

    @property
    def class_(self) -> str:
        """Its class in the example's manifest."""
        return self._section["class"]

    @property
    def identifier(self) -> str:
        """The word that means the subject, from the example's manifest."""
        return self._section["identifier"]

    @property
    def _section(self) -> dict[str, str]:
        documents = yaml.safe_load_all((EXAMPLES / self.name / "dreamboothjob.yaml").read_text())
        (manifest,) = (document for document in documents if document["kind"] == "DreamBoothJob")
        return dict(manifest["spec"]["subject"])

    @property
    def photos(self) -> Path:
        """Folder of the photos."""
        return EXAMPLES / self.name / "photos"


def subjects() -> list[str]:
    """Names of the example subjects that have photos."""
    return sorted(folder.parent.name for folder in EXAMPLES.glob("*/photos"))


def base_model(gpu: bool, work: Path) -> Base:
    """The embedded model in float32, or for a GPU one of Stable Diffusion 1.5's size in bfloat16, with random weights.

    Args:
        gpu: whether to use the large model.
        work: folder in which the large model is built once.
    """
    if not gpu:
        return Base("embedded://emoji", embedded.path("emoji") / "pipeline", 64, "fp32")
    folder = work.absolute() / "random-sd15"
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "benchmarks.random_model", str(folder)], check=True)
    return Base(str(folder), folder, 512, "bf16")


def trainer_command(config: TrainConfig, output: Path, cache: Path) -> list[str]:
    """The command of this project's trainer; writes its configuration next to the output folder."""
    file = output.with_name(f"{output.name}.json")
    # Only explicit settings: the trainer rejects settings without an effect, such as those of LoRA for method full.
    write_json(file, config.model_dump(mode="json", by_alias=True, exclude_unset=True))
    module = [sys.executable, "-m", "dreambooth_trainer"]
    return [*module, "--config", str(file), "--output", str(output), "--cache", str(cache)]


def script_command(
    script: Path,
    base: Base,
    subject: Subject,
    identifier: str,
    output: Path,
    class_images: Path | None,
    more: Arguments,
) -> list[str]:
    """The command of diffusers' `train_dreambooth.py`.

    Args:
        script: the program.
        base: the base model.
        subject: the subject of the photos.
        identifier: the word that will mean the subject.
        output: folder of the exported pipeline.
        class_images: folder of the class images; None for a training without prior preservation.
        more: further options, by their names with underscores.
    """
    prior: Arguments = {
        "with_prior_preservation": True,
        "class_prompt": f"a {subject.class_}",
        "class_data_dir": class_images or "",
        "prior_generation_precision": base.precision,
    }
    options: Arguments = {
        "pretrained_model_name_or_path": base.folder,
        "instance_data_dir": subject.photos,
        "instance_prompt": f"a {identifier} {subject.class_}",
        "output_dir": output,
        "resolution": base.resolution,
        "mixed_precision": {"fp32": "no", "bf16": "bf16"}[base.precision],
        "report_to": "tensorboard",
        **(prior if class_images else {}),
        **more,
    }
    return [sys.executable, str(script), *command_line(options)]


def command_line(options: Arguments) -> list[str]:
    """Options as words of a command line."""
    words: list[str] = []
    for name, value in options.items():
        if value is not False:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words
