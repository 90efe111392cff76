"""The trainer as pods start it: `python -m dreambooth_trainer --config train.json --output /output`.

Everything comes by arguments and torchrun's environment; the exit code and the termination log tell how it ended (see
`failures.py`).
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from dreambooth_trainer.checks import check, check_files
from dreambooth_trainer.failures import InvalidConfig, InvalidData
from dreambooth_trainer.job import run_job
from dreambooth_trainer.termination import outcome_of, write_termination


def main(
    config: Annotated[Path, typer.Option(help="The training sections of a manifest's spec, in JSON or YAML.")],
    output: Annotated[Path, typer.Option(help="Folder of the run; what it holds is gone on from.")],
    cache: Annotated[Path, typer.Option(help="Folder of what jobs share: class images.")],
    port: Annotated[int | None, typer.Option(help="Port of /progress, /metrics and /healthz.")] = None,
    termination_log: Annotated[Path | None, typer.Option(help="File for a short JSON about the end.")] = None,
) -> None:
    """Trains one job."""
    try:
        settings, problems = check(yaml.safe_load(config.read_text()))
        if settings is None:
            raise InvalidConfig(problems)
        problems, _ = check_files(settings)
        if problems:
            raise InvalidData(problems)
    except (InvalidConfig, InvalidData) as error:
        if termination_log:
            write_termination(termination_log, outcome_of(error, {}))
        typer.echo(f"{error.reason}: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(run_job(settings, output, cache=cache, port=port, termination_log=termination_log))


if __name__ == "__main__":
    # Pods log to a pipe: lines must come out as they are written.
    sys.stdout.reconfigure(line_buffering=True)
    typer.run(main)
