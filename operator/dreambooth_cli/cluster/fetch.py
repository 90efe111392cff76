"""`dreambooth fetch`: copies the files of a run or scene to this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from dreambooth_client.parts import Part

if TYPE_CHECKING:
    from dreambooth_client.cluster.copying import Advance
    from dreambooth_client.cluster.files import RemoteFile
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.seen import Seen


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
    start_seconds: StartSeconds = None,
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
        from dreambooth_client.cluster.workloads import read

        seen = await read(session, target)
        return await copied(session, seen, output or default_folder(seen), parts, start_seconds)

    say(in_cluster(context, namespace, work))


def default_folder(seen: "Seen") -> Path:
    """Where the files of a workload belong if nothing else is asked for."""
    from dreambooth_client.cluster.backend import default_folder

    return default_folder(Path("runs"), seen)


async def copied(
    session: "Session", seen: "Seen", folder: Path, parts: Sequence[Part], patience: float | None = None
) -> Path:
    """Copies the files of a workload with a bar; ends the command if a file can't be written.

    Args:
        session: the connection.
        seen: the workload.
        folder: where to put them.
        parts: the parts of a run.
        patience: seconds for which a pod that reads them may take to start.

    Returns:
        The folder.
    """
    from dreambooth_client.cluster.copying import PATIENCE, copied

    try:
        return await copied(session, seen, folder, parts, patience=patience or PATIENCE, report=complain, shown=_bar)
    except StorageUnavailable as failure:
        fail(f"--output: {failure}", failure.exit_code)


@contextmanager
def _bar(files: "Sequence[RemoteFile]") -> "Iterator[Advance]":
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("", total=sum(one.size for one in files))

        def advance(file: "RemoteFile", number: int) -> None:
            bars.update(bar, advance=number, description=Path(file.path).name.replace("[", r"\["))

        yield advance


def _parts(only: str | None) -> list[Part]:
    if only is None:
        return list(Part)
    try:
        return [Part(name.strip()) for name in only.split(",")]
    except ValueError:
        fail(f"--only: {only!r} names no parts. Give {', '.join(Part)}, with commas between them.", 2)
