"""`dreambooth watch`: follows one workload until it ends, or shows all of a namespace."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dreambooth_cli.cluster.options import Context, Namespace, in_cluster, target_or_exit
from dreambooth_cli.cluster.outcome import exit_with
from dreambooth_cli.cluster.table import COLOURS, details, table, why

if TYPE_CHECKING:
    from dreambooth_client.session import Session
    from dreambooth_client.workloads import Seen, Target

TABLE_SECONDS = 2.0
"""Time between two lists."""


def watch(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A DreamBoothJob, or scene/NAME for a DreamBoothScene. Without it, a table of all.",
            show_default=False,
        ),
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Follow a DreamBoothJob or DreamBoothScene until it ends, or show all of a namespace.

    Exits with 0 when it is complete, otherwise with the code of its failure.
    """
    if name is None:
        in_cluster(context, namespace, _all)
        return
    target = target_or_exit(name)
    seen = in_cluster(context, namespace, lambda session: follow(session, target))
    exit_with(seen, context, namespace)


async def follow(session: "Session", target: "Target") -> "Seen":
    """Shows the progress of a workload until it ends, and returns it."""
    from dreambooth_client.following import followed

    shown = Console(stderr=True, highlight=False)
    display = _Bar(shown) if shown.is_terminal else _Lines(shown)
    with display:
        async for seen in followed(session, target, lambda text: shown.print(text, markup=False, soft_wrap=True)):
            display.update(seen)
    return seen


async def _all(session: "Session") -> None:
    from dreambooth_client.workloads import listed

    with Live(auto_refresh=False) as live:
        while True:
            live.update(table(await listed(session), datetime.now(UTC), with_namespaces=False), refresh=True)
            await asyncio.sleep(TABLE_SECONDS)


class _Bar:
    """A bar, and a line for each reason to wait."""

    def __init__(self, shown: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[details]}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=shown)
        self._task: TaskID | None = None
        self._said = ""

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, seen: "Seen") -> None:
        """Shows the workload as it is now."""
        if self._task is None:
            self._task = self._progress.add_task("", total=100, details="")
        progress = seen.status.progress
        colour = COLOURS.get(seen.phase, "default")
        phase = f" {progress.phase}" if progress and progress.phase and not seen.has_ended else ""
        self._progress.update(
            self._task,
            completed=progress.percent if progress else 0,
            description=f"{seen.target} [{colour}]{seen.phase}[/]{phase}",
            details="  ".join(details(seen)),
        )
        message = why(seen)
        if message and message != self._said:
            self._progress.console.print(message, markup=False)
        self._said = message


class _Lines:
    """A line for each change of phase, and for each tenth of the work."""

    def __init__(self, shown: Console) -> None:
        self._shown = shown
        self._said: tuple[object, ...] = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, seen: "Seen") -> None:
        """Prints a line if there is something new."""
        progress = seen.status.progress
        percent = progress.percent if progress else 0
        phase = progress.phase if progress and not seen.has_ended else None
        news = seen.phase, phase, percent // 10, why(seen)
        if news != self._said:
            words = [str(seen.target), seen.phase, phase, f"{percent} %", *details(seen), why(seen)]
            self._shown.print("  ".join(word for word in words if word), markup=False, soft_wrap=True)
        self._said = news
