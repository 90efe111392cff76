"""Shows a run on the console: a progress bar for each phase on a terminal, plain lines elsewhere.

`start.py` creates the observer on rank 0 and passes it to `Progress`.
"""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dreambooth_api.progress import Event, Observer, PhaseProgress, Snapshot

_QUICKEST, _SLOWEST = 10.0, 60.0
"""Least and most seconds between two plain lines within a phase; a line for each tenth of the phase within these
limits."""

_BAR_REFRESHES_PER_SECOND = 4
"""Each refresh takes about a millisecond of a processor that may be training."""


def console_observer(console: Console) -> Observer:
    """Progress bars if the console is a terminal that can overwrite a line, else plain lines without control codes."""
    return BarObserver(console) if console.is_interactive else LineObserver(console)


class BarObserver:
    """Shows a progress bar for the running phase, and a line with the duration for each ended phase."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def __call__(self, event: Event, snapshot: Snapshot) -> None:
        """Updates the bar, or replaces it with the line of the ended phase."""
        phase = snapshot.current
        if phase is None:
            return
        if event == "start":
            self._bar = Progress(
                TextColumn("{task.description}", style="bold"),
                BarColumn(),
                TextColumn("{task.fields[details]}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
                refresh_per_second=_BAR_REFRESHES_PER_SECOND,
            )
            self._bar.add_task(f"{phase.name:8}", total=phase.total, completed=phase.done, details=_details(snapshot))
            self._bar.start()
        elif event == "advance" and self._bar:
            self._bar.update(self._bar.task_ids[0], completed=phase.done, details=_details(snapshot))
        elif event == "end":
            if self._bar:
                self._bar.stop()
                self._bar = None
            style = {"done": "green", "failed": "red"}.get(phase.state, "dim")
            self._console.print(f"{phase.name:8} {_ending(phase)}", style=style, markup=False, highlight=False)


class LineObserver:
    """Prints a line when a phase starts and ends, and further lines while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: PhaseProgress | None = None

    def __call__(self, event: Event, snapshot: Snapshot) -> None:
        """Prints the event where a line is due."""
        phase = snapshot.current
        if phase is None:
            return
        if event == "start":
            self._print(phase, ", ".join(filter(None, ["started", _count(phase) if phase.done else ""])))
        elif event == "end":
            self._print(phase, _ending(phase))
        elif self._printed is None or _line_due(self._printed, phase):
            self._print(phase, _details(snapshot))

    def _print(self, phase: PhaseProgress, text: str) -> None:
        self._console.out(f"{phase.name}: {text}", highlight=False)
        self._printed = phase


def duration(seconds: float) -> str:
    """A duration as people write it: `0.4 s`, `35 s`, `3:07`, `1:02:03`."""
    if seconds < 59.5:
        return f"{seconds:.{int(seconds < 9.95)}f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line_due(printed: PhaseProgress, phase: PhaseProgress) -> bool:
    waited = phase.seconds - printed.seconds
    tenth = phase.total is not None and phase.done - printed.done >= phase.total / 10
    return waited >= _SLOWEST or (waited >= _QUICKEST and tenth)


def _details(snapshot: Snapshot) -> str:
    """`120/400 steps, loss 0.1234, class 0.1011, 1:20 left`, without unknown parts."""
    phase = snapshot.current
    if phase is None:
        return ""
    parts = [_count(phase)]
    if phase.name == "train":
        losses = (("loss", snapshot.loss), ("class", snapshot.prior_loss))
        parts += [f"{name} {value:.4f}" for name, value in losses if value is not None]
    if snapshot.eta_seconds is not None:
        parts.append(f"{duration(snapshot.eta_seconds)} left")
    return ", ".join(filter(None, parts))


def _ending(phase: PhaseProgress) -> str:
    if phase.state == "skipped":
        return "nothing to do"
    count, took = _count(phase), duration(phase.seconds)
    if phase.state == "failed":
        return f"stopped at {count} after {took}" if count else f"stopped after {took}"
    return f"done, {count} in {took}" if count else f"done in {took}"


def _count(phase: PhaseProgress) -> str:
    """`120/400 steps`; empty if nothing is counted."""
    if phase.total is None:
        return f"{phase.done} {phase.unit}".rstrip() if phase.done else ""
    return f"{phase.done}/{phase.total} {phase.unit}".rstrip()
