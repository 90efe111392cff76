"""`dreambooth validate`: everything wrong with a manifest and its photos, before anything is loaded or applied."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.printing import one_line, printable
from dreambooth_cli.output import say

if TYPE_CHECKING:
    from dreambooth_client.manifests import Manifest

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The manifest: YAML of a DreamBoothJob.", show_default=False)
]
AnyFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="The manifest: YAML of a DreamBoothJob, DreamBoothScenes or DreamBoothRuntimes.",
        show_default=False,
    ),
]


def validate(file: AnyFile) -> None:
    """Check a manifest and its photos.

    Prints everything that is wrong, with its field, value and remedy, and exits with 2; exits with 0 if all is well.
    """
    from dreambooth_api.job import KIND
    from dreambooth_cli.cluster_objects import check_cluster_objects
    from dreambooth_client.manifests import documents_of, of_kind, read_job

    found = documents_of(file)
    documents = found if isinstance(found, list) else []
    objects, problems = check_cluster_objects(documents)
    if problems:
        print_problems(file, problems)
    if not objects or of_kind(documents, KIND):
        _say_what_is_valid(file, sound_or_exit(file, read_job(found, file)))
    if problems:
        raise typer.Exit(InvalidConfig.exit_code)
    if objects:
        say(f"{file} is valid: {', '.join(objects)}")


def _say_what_is_valid(file: Path, manifest: "Manifest") -> None:
    from dreambooth_trainer.extras import missing_libraries

    spec = manifest.config
    # Pods have them.
    print_warnings([str(problem) for problem in missing_libraries(spec)])
    lora = spec.training.lora
    kind = "DoRA" if lora.use_dora else "LoRA"
    denoiser = "all weights" if spec.training.method == "full" else f"{kind} of rank {lora.rank}"
    prior = f"{spec.class_images} class images" if spec.prior.enabled else "no class images"
    subjects = " and ".join(
        f"the {one.class_} {one.called}" if one.called else f"a {one.class_}" for one in spec.all_subjects.values()
    )
    say(
        f"{file} is valid: {manifest.job.metadata.name}, {subjects} on {spec.model.source}, "
        f"{spec.training.steps} steps of {denoiser}, {prior}"
    )


def read_or_exit(file: Path) -> "Manifest":
    """Reads a manifest; prints its warnings, or its problems and exits with 2."""
    from dreambooth_client.manifests import read

    return sound_or_exit(file, read(file))


def sound_or_exit(file: Path, manifest: "Manifest | list[Problem]") -> "Manifest":
    """Prints the warnings about a manifest, or its problems and exits with 2."""
    if isinstance(manifest, list):
        print_problems(file, manifest)
        raise typer.Exit(InvalidConfig.exit_code)
    print_warnings(manifest.warnings)
    return manifest


def print_warnings(warnings: Sequence[str]) -> None:
    """Prints what the author of a manifest should know."""
    for warning in warnings:
        _console().print(Text.assemble(("warning: ", "yellow"), printable(warning)))


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True, highlight=False)


def print_problems(file: Path, problems: Sequence[Problem]) -> None:
    """Prints everything that is wrong with a manifest."""
    console = _console()
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    console.print(Text.assemble((one_line(f"{file} has {count}:"), "bold")))
    for problem in problems:
        head, _, rest = str(problem).partition(": ")
        console.print(Text.assemble("  ", (head, "bold red"), f": {rest}"))
