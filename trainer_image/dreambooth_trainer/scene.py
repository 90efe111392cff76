"""A scene as a process: `python -m dreambooth_trainer.scene --config scene.json --run /run --output /scene` in pods, and
`dreambooth generate`. A scene that names a model has no run.

Failures, exit codes, termination message, progress and interruption are those of a training; see `start.py`.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.scene import Scene, check_scene
from dreambooth_api.training import Model
from dreambooth_trainer.models.identity import read_ahead
from dreambooth_trainer.monitoring.progress import SCENE
from dreambooth_trainer.process.hub_cache import use_hub_cache
from dreambooth_trainer.process.streams import keep_streams
from dreambooth_trainer.process.termination import Outcome
from dreambooth_trainer.run import RunFolder
from dreambooth_trainer.start import Start, ending_at_a_failure, read_settings, say

LOCK = ".lock"
"""Name of the lock file in the folder of the pictures."""
NAME = "scene"
"""Name of the contact sheet and of the record of a scene that has a folder of its own: `scene.png`, `scene.json`."""


def run_scene(
    scene: Scene,
    run: Path | None,
    output: Path,
    *,
    name: str | None = NAME,
    written: Callable[[Path], None] | None = None,
    field_names: Mapping[str, str] | None = None,
    console: Console | None = None,
    port: int | None = None,
    termination_log: Path | None = None,
    progress_log: Path | None = None,
) -> int:
    """Generates the pictures of a scene until all are there or it fails, and returns the exit code of the process.

    Args:
        scene: what to generate.
        run: folder of the run, in which nothing is written; None for a scene that names a model.
        output: folder of the pictures. Pictures that an earlier start has written there are kept.
        name: see `generate`.
        written: called with each file, in the order of the scene.
        field_names: what the user calls the fields of the scene, if not by their paths in the spec.
        console: where to show progress and warnings. Default: on stdout.
        port: see `Start.run`.
        termination_log: file for the termination message.
        progress_log: file for the progress, see `recorder`.
    """
    start, folder, hub = Start(SCENE, console, progress_log), RunFolder(run) if run else None, output / ".hub"
    warnings: list[str] = []

    def warn(warning: str) -> None:
        warnings.append(warning)
        start.progress.update(warnings=warnings)
        say(start.console, f"warning: {warning}")

    def name_of(field: str) -> str:
        return (field_names or {}).get(field, field)

    def work() -> Outcome:
        try:
            return generated()
        except InvalidConfig as error:
            raise InvalidConfig([replace(one, field=name_of(one.field)) for one in error.problems]) from error

    def generated() -> Outcome:
        if folder is None or scene.step is not None or not folder.complete.exists():
            # The base model may come from the hub.
            use_hub_cache(hub, os.environ)
        if scene.model:
            read_ahead(scene.model)
        elif folder and (exported := folder.model / "diffusers").is_dir():
            read_ahead(Model(source=str(exported)))
        # Imported late, as in `job.py`.
        from dreambooth_trainer.generate import Process, generate

        files = []
        for file in generate(folder, scene, output, Process(start.progress, start.stop, warn, name_of), name):
            files.append(file.name)
            if written:
                written(file)
        shutil.rmtree(hub, ignore_errors=True)
        snapshot, sheet = start.progress.snapshot(), files[-1]
        result = {
            "identifier": snapshot.identifier,
            "pictures": len(files) - 1,
            "sheet": sheet,
            "record": Path(sheet).with_suffix(".json").name,
        }
        return Outcome(
            "Completed", 0, f"the pictures are in {output}", snapshot.step or None, result, snapshot.warnings
        )

    outcome = start.run(work, output, output / LOCK, port=port, termination_log=termination_log)
    # A refused scene leaves no empty folder.
    with suppress(OSError):
        output.rmdir()
    return outcome.exit_code


def main(
    config: Annotated[Path, typer.Option(help="The scene, in JSON.")],
    output: Annotated[Path, typer.Option(help="Folder of the pictures. A scene that is already there continues.")],
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run whose model generates, unless the scene names a model."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of /progress, /metrics and /healthz.")] = None,
    termination_log: Annotated[Path | None, typer.Option(help="File for the termination message.")] = None,
    progress_log: Annotated[Path | None, typer.Option(help="File for the progress.")] = None,
) -> None:
    """Generates one scene."""
    with ending_at_a_failure(termination_log):
        scene, problems = check_scene(read_settings(config))
        if scene is None:
            raise InvalidConfig(problems)
    raise typer.Exit(
        run_scene(scene, run, output, port=port, termination_log=termination_log, progress_log=progress_log)
    )


if __name__ == "__main__":
    keep_streams()
    typer.run(main)
