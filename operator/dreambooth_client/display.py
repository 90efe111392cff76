"""Shows the progress of a workload on a terminal, in a notebook or in a log."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dreambooth_client.seen import Seen
from dreambooth_client.words import details, why

COLOURS = {"Complete": "green", "Failed": "red", "Running": "cyan", "Retrying": "yellow", "Suspended": "yellow"}
"""Of phases."""


def display(console: Console) -> "Bar | Lines":
    """A bar where it can move, else lines.

    Args:
        console: where to show it.
    """
    return Bar(console) if console.is_terminal or console.is_jupyter else Lines(console)


class Bar:
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

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, seen: Seen) -> None:
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


class Lines:
    """A line for each change of phase, and for each tenth of the work."""

    def __init__(self, shown: Console) -> None:
        self._shown = shown
        self._said: tuple[object, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, seen: Seen) -> None:
        """Prints a line if there is something new."""
        progress = seen.status.progress
        percent = progress.percent if progress else 0
        phase = progress.phase if progress and not seen.has_ended else None
        news = seen.phase, phase, percent // 10, why(seen)
        if news != self._said:
            words = [str(seen.target), seen.phase, phase, f"{percent} %", *details(seen), why(seen)]
            self._shown.print("  ".join(word for word in words if word), markup=False, soft_wrap=True)
        self._said = news
