"""`dreambooth validate`: everything wrong with a manifest and its photos, before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.printing import one_line, printable
from dreambooth_cli.manifest import Manifest, read
from dreambooth_cli.output import say

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The manifest: YAML of a DreamBoothJob.", show_default=False)
]


def validate(file: File) -> None:
    """Check a manifest and its photos.

    Prints everything that is wrong, with its field, value and remedy, and exits with 2; exits with 0 if all is well.
    """
    manifest = read_or_exit(file)
    spec = manifest.config
    denoiser = "all weights" if spec.training.method == "full" else f"LoRA of rank {spec.training.lora.rank}"
    prior = f"{spec.prior.images} class images" if spec.prior.enabled else "no class images"
    say(
        f"{file} is valid: {manifest.job.metadata.name}, a {spec.subject.class_} on {spec.model.source}, "
        f"{spec.training.steps} steps of {denoiser}, {prior}"
    )


def read_or_exit(file: Path) -> Manifest:
    """Reads a manifest; prints its warnings, or its problems and exits with 2."""
    manifest = read(file)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if isinstance(manifest, list):
        _print_problems(console, file, manifest)
        raise typer.Exit(InvalidConfig.exit_code)
    for warning in manifest.warnings:
        console.print(Text.assemble(("warning: ", "yellow"), printable(warning)))
    return manifest


def _print_problems(console: Console, file: Path, problems: Sequence[Problem]) -> None:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    console.print(Text.assemble((one_line(f"{file} has {count}:"), "bold")))
    for problem in problems:
        head, _, rest = str(problem).partition(": ")
        console.print(Text.assemble("  ", (head, "bold red"), f": {rest}"))
