"""What people see of a run: a bar for each phase on a terminal, plain lines elsewhere.

Made by the command line, on rank 0 only, and handed to `Progress`.
"""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dreambooth_api.progress import Event, Observer, PhaseProgress, Snapshot

_QUICKEST, _SLOWEST = 10.0, 60.0
"""Seconds between two plain lines within a phase: a line for each tenth of it, in these bounds."""

_BAR_REFRESHES_PER_SECOND = 4
"""Each costs about a millisecond of a processor that may be training."""


def console_observer(console: Console) -> Observer:
    """Bars where the console is a terminal that can redraw a line, else plain lines without control codes."""
    return BarObserver(console) if console.is_interactive else LineObserver(console)


class BarObserver:
    """Draws one bar for the phase that runs; what has ended stays as a line with its duration."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def __call__(self, event: Event, snapshot: Snapshot) -> None:
        """Draws the bar anew, or replaces it by the line of the ended phase."""
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
    """Prints a line when a phase starts and ends, and now and then within it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: PhaseProgress | None = None

    def __call__(self, event: Event, snapshot: Snapshot) -> None:
        """Prints the event where a line is due."""
        phase = snapshot.current
        if phase is None:
            return
        if event == "start":
            self._print(phase, ", ".join(filter(None, ["started", _count(phase) if phase.done else ""])))
        elif event == "end":
            self._print(phase, _ending(phase))
        elif self._told is None or _line_due(self._told, phase):
            self._print(phase, _details(snapshot))

    def _print(self, phase: PhaseProgress, text: str) -> None:
        self._console.out(f"{phase.name}: {text}", highlight=False)
        self._told = phase


def duration(seconds: float) -> str:
    """A duration as people write it: `0.4 s`, `35 s`, `3:07`, `1:02:03`."""
    if seconds < 59.5:
        return f"{seconds:.{int(seconds < 9.95)}f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _line_due(told: PhaseProgress, phase: PhaseProgress) -> bool:
    waited = phase.seconds - told.seconds
    tenth = phase.total is not None and phase.done - told.done >= phase.total / 10
    return waited >= _SLOWEST or (waited >= _QUICKEST and tenth)


def _details(snapshot: Snapshot) -> str:
    """`120/400 steps, loss 0.1234, class 0.1011, 1:20 left`, as far as it is known."""
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
    """`120/400 steps`; empty where nothing is counted."""
    if phase.total is None:
        return f"{phase.done} {phase.unit}".rstrip() if phase.done else ""
    return f"{phase.done}/{phase.total} {phase.unit}".rstrip()
