"""The trainer as pods start it: `python -m dreambooth_trainer --config train.json --output /output`.

All input comes from the arguments and from torchrun's environment. The exit code and the termination message say how
the process ended (see `failures.py`).
"""

from pathlib import Path
from typing import Annotated

import typer

from dreambooth_api.failures import InvalidConfig, InvalidData, ModelUnavailable, Problem, TrainerFailure
from dreambooth_api.files import resolved
from dreambooth_api.validation import check_files, check_settings
from dreambooth_trainer.data.own_class_images import INSPECTIONS
from dreambooth_trainer.job import run_job
from dreambooth_trainer.process.streams import keep_streams
from dreambooth_trainer.start import ending_at_a_failure, read_settings


def main(
    config: Annotated[Path, typer.Option(help="The training sections of a manifest's spec, in JSON.")],
    output: Annotated[Path, typer.Option(help="Folder of the run. A run that is already there continues.")],
    cache: Annotated[Path, typer.Option(help="Folder that runs share: the class-image cache.")],
    port: Annotated[int | None, typer.Option(help="Port of /progress, /metrics and /healthz.")] = None,
    termination_log: Annotated[Path | None, typer.Option(help="File for the termination message.")] = None,
    progress_log: Annotated[Path | None, typer.Option(help="File for the progress.")] = None,
) -> None:
    """Runs one training."""
    with ending_at_a_failure(termination_log):
        settings, problems = check_settings(read_settings(config))
        if settings is None:
            raise InvalidConfig(problems)
        problems, _ = check_files(settings, INSPECTIONS)
        if problems:
            raise _failure_of(problems)
    raise typer.Exit(
        run_job(
            resolved(settings, Path()),
            output,
            cache=cache,
            port=port,
            termination_log=termination_log,
            progress_log=progress_log,
        )
    )


def _failure_of(problems: list[Problem]) -> TrainerFailure:
    """The failure for problems of files, which pictures, settings or models have."""
    fields = {problem.field for problem in problems}
    if any(field.startswith(("spec.subject.", "spec.subjects[", "spec.prior.source")) for field in fields):
        return InvalidData(problems)
    if fields <= {"spec.model.source", "spec.evaluation.encoder"}:
        return ModelUnavailable("\n".join(map(str, problems)))
    return InvalidConfig(problems)


if __name__ == "__main__":
    keep_streams()
    typer.run(main)
