"""`dreambooth run`: the whole job on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.files import expanded
from dreambooth_cli.output import fail
from dreambooth_cli.validate import File, read_or_exit


def run(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=expanded,
            metavar="DIR",
            help="Folder of the results.",
            show_default="runs/<name of the job>",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="DIR",
            help="Folder of class images that jobs share.",
            show_default="~/.cache/dreambooth",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve /progress, /metrics and /healthz there; 0: nowhere.")
    ] = 0,
) -> None:
    """Train a model on the photos of a manifest, on this machine.

    Leaves the model, pictures of the subject and a report in the output folder. After an interruption, the same command
    goes on where it stopped, also with more training.steps in the manifest.
    """
    from dreambooth_client.local.reach import out_of_reach

    manifest = read_or_exit(file)
    if problems := list(out_of_reach(manifest.config)):
        fail("\n".join(map(str, problems)), InvalidConfig.exit_code)

    # Torch takes seconds to import; a wrong manifest is reported before.
    from dreambooth_trainer.job import run_job
    from dreambooth_trainer.process.records import Records
    from dreambooth_trainer.run import default_cache

    folder = output or Path("runs") / manifest.job.metadata.name
    shared = cache or default_cache() or folder / ".cache"
    records = Records.of(folder)
    code = run_job(
        manifest.config,
        folder,
        cache=shared,
        port=port or None,
        termination_log=records.ending,
        progress_log=records.progress,
    )
    raise typer.Exit(code)
