"""`dreambooth run`: the whole job on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from dreambooth_operator.cli.validate import File, read_or_exit
from dreambooth_trainer.failures import InvalidConfig


def run(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Folder of the results.", show_default="runs/<name of the job>"
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of class images that jobs share.", show_default="~/.cache/dreambooth"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve /progress, /metrics and /healthz there; 0: nowhere.")
    ] = 0,
) -> None:
    """Train a model on the photos of a manifest, on this machine.

    Leaves the model, pictures of the subject and a report in the output folder. After an interruption, the same command
    goes on where it stopped.
    """
    manifest = read_or_exit(file)
    if manifest.config.subject.images.path is None:
        typer.echo(
            "spec.subject.images: photos of a ConfigMap or a volume are only at hand in the cluster. "
            "Copy them to a folder and give subject.images.path.",
            err=True,
        )
        raise typer.Exit(InvalidConfig.exit_code)

    # Torch takes seconds to import; a wrong manifest is told before.
    from dreambooth_trainer.job import run_job
    from dreambooth_trainer.run import default_cache

    folder = output or Path("runs") / manifest.job.metadata.name
    raise typer.Exit(run_job(manifest.config, folder, cache=cache or default_cache(), port=port or None))
