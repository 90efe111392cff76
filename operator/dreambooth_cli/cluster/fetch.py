"""`dreambooth fetch`: copies the files of a run or scene to this machine."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from dreambooth_api.failures import StorageUnavailable
from dreambooth_api.files import expanded
from dreambooth_cli.cluster.options import (
    Context,
    Name,
    Namespace,
    StartSeconds,
    in_cluster,
    target_or_exit,
)
from dreambooth_cli.output import complain, fail, say

if TYPE_CHECKING:
    from dreambooth_client.files import RemoteFile
    from dreambooth_client.session import Session
    from dreambooth_client.workloads import Seen

PATIENCE = 300.0
"""Seconds for which a pod may take to start: its node may have to pull the image."""


class Part(StrEnum):
    """Parts of a run."""

    MODEL = "model"
    SAMPLES = "samples"
    REPORT = "report"


PARTS: Mapping[Part, Sequence[str]] = {
    Part.MODEL: ("model",),
    Part.SAMPLES: ("samples", "samples-on-the-way"),
    Part.REPORT: ("report.html", "result.json", "losses.jsonl", "state"),
}
"""The files and folders of each part."""
LAST = "COMPLETE"
"""The file that says that all others are there."""


def fetch(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=expanded, metavar="DIR", help="Where to put them.", show_default="runs/NAME"
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PARTS", help="Of a run: model, samples, report, or several with commas.", show_default="all"
        ),
    ] = None,
    start_seconds: StartSeconds = PATIENCE,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Copy the model, the pictures and the report of a DreamBoothJob to this machine, or the pictures of a DreamBoothScene.

    Also works while it runs. Each file is verified by its digest; the same command continues after an interruption and
    copies what has changed. If no pod runs, one without GPU is started for the time of the copy.
    """
    target = target_or_exit(name)
    parts = _parts(only)

    async def work(session: "Session") -> Path:
        from dreambooth_client.workloads import read

        seen = await read(session, target)
        return await copied(session, seen, output or default_folder(seen), parts, start_seconds)

    say(in_cluster(context, namespace, work))


def default_folder(seen: "Seen") -> Path:
    """Where the files of a workload belong if nothing else is asked for: those of a scene in the folder of its run."""
    from dreambooth_api.job import KIND

    name = seen.target.name
    if seen.target.kind == KIND:
        return Path("runs") / name
    return Path("runs") / str(seen.spec["jobName"]) / "scenes" / name


async def copied(
    session: "Session", seen: "Seen", folder: Path, parts: Sequence[Part], patience: float = PATIENCE
) -> Path:
    """Copies the files of a workload; ends the command if a file can't be written.

    Args:
        session: the connection.
        seen: the workload.
        folder: where to put them.
        parts: the parts of a run.
        patience: seconds for which a pod that reads them may take to start.

    Returns:
        The folder.
    """
    from dreambooth_api.job import KIND
    from dreambooth_client.errors import ClusterFailure
    from dreambooth_client.files import local, remote_folder, verify

    async with remote_folder(session, seen, patience, complain) as remote:
        files = await remote.listed()
        wanted = chosen(files, parts) if seen.target.kind == KIND else files
        if not wanted:
            raise ClusterFailure(f"{seen.target} has none of these files yet. {seen.phase}: {seen.status.message}")
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task("", total=sum(one.size for one in wanted))

            def advance(file: "RemoteFile", number: int) -> None:
                bars.update(bar, advance=number, description=Path(file.path).name.replace("[", r"\["))

            try:
                digests = await remote.fetch(wanted, folder, advance)
            except OSError as error:
                failure = StorageUnavailable.of(error, folder)
                fail(f"--output: {failure}", failure.exit_code)
    verify((local(one.path, folder) for one in wanted), digests)
    return folder


def chosen(files: "Sequence[RemoteFile]", parts: Sequence[Part]) -> "list[RemoteFile]":
    """The files of some parts, with the mark of a complete run at the end, if all parts are wanted."""
    names = {name for part in parts for name in PARTS[part]}
    found = [one for one in files if one.path.split("/")[0] in names]
    return found + ([one for one in files if one.path == LAST] if set(parts) == set(Part) else [])


def _parts(only: str | None) -> list[Part]:
    if only is None:
        return list(Part)
    try:
        return [Part(name.strip()) for name in only.split(",")]
    except ValueError:
        fail(f"--only: {only!r} names no parts. Give {', '.join(Part)}, with commas between them.", 2)
