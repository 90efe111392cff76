import io
import re

import pytest
from rich.console import Console

from dreambooth_trainer.monitoring.console import console_observer, duration
from dreambooth_trainer.monitoring.progress import Progress


class FakeClock:
    """A clock that a test advances."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(clock: FakeClock, output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """A run whose output is not a terminal."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Progress([console_observer(Console(file=output))], clock=clock)


def test_lines_at_start_and_end_of_phases(lines: Progress, clock: FakeClock, output: io.StringIO) -> None:
    with lines.phase("prepare"):
        clock.seconds += 2
    lines.skip("cache")
    with lines.phase("prior", total=200, unit="images", done=37) as phase:
        clock.seconds += 92
        phase.advance(163)
    assert output.getvalue().splitlines() == [
        "prepare: started",
        "prepare: done in 2.0 s",
        "cache: nothing to do",
        "prior: started, 37/200 images",
        "prior: 200/200 images, 0.0 s left",
        "prior: done, 200/200 images in 1:32",
    ]


def test_an_interrupted_phase_says_where_it_stopped(lines: Progress, clock: FakeClock, output: io.StringIO) -> None:
    with pytest.raises(KeyboardInterrupt), lines.phase("train", total=400, unit="steps") as phase:
        clock.seconds += 35
        phase.advance(120, loss=0.12341, prior_loss=0.1)
        raise KeyboardInterrupt
    assert output.getvalue().splitlines()[1:] == [
        "train: 120/400 steps, loss 0.1234, class 0.1000, 1:22 left",
        "train: stopped at 120/400 steps after 35 s",
    ]


@pytest.mark.parametrize(
    ("step_seconds", "steps", "expected"),
    [
        pytest.param(0.01, 100, 0, id="a quick phase has none"),
        pytest.param(0.5, 100, 4, id="one each 10 s"),
        pytest.param(2, 100, 9, id="one each tenth"),
        pytest.param(30, 100, 49, id="one each minute"),
    ],
)
def test_lines_within_a_phase_are_few(
    lines: Progress, clock: FakeClock, output: io.StringIO, step_seconds: float, steps: int, expected: int
) -> None:
    with lines.phase("train", total=steps, unit="steps") as phase:
        for _ in range(steps - 1):
            clock.seconds += step_seconds
            phase.advance()
    assert len(output.getvalue().splitlines()) - 2 == expected


def test_lines_have_no_line_breaks_and_no_control_codes(lines: Progress, clock: FakeClock, output: io.StringIO) -> None:
    with lines.phase("train", total=10**30, unit="[bold]steps[/bold]" * 10) as phase:
        clock.seconds += 60
        phase.advance(loss=0.1)
    text = output.getvalue()
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text and "\r" not in text
    assert "[bold]steps[/bold]" in text


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, force_interactive=True, width=80)


def shown(console: Console) -> list[str]:
    """All lines that were shown, without control codes."""
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_a_bar_shows_both_losses_and_the_time_left(terminal: Console, clock: FakeClock) -> None:
    progress = Progress([console_observer(terminal)], clock=clock)
    with progress.phase("train", total=400, unit="steps", done=100) as phase:
        clock.seconds += 2
        phase.advance(20, loss=0.1234, prior_loss=0.1)
    bars = [line for line in shown(terminal) if "━" in line]
    assert "100/400 steps" in bars[0]
    assert "120/400 steps, loss 0.1234, class 0.1000, 28 s left" in bars[-1]
    assert all(len(line) <= 80 for line in bars)


def test_ended_phases_stay_as_lines(terminal: Console, clock: FakeClock) -> None:
    progress = Progress([console_observer(terminal)], clock=clock)
    progress.skip("prior")
    with progress.phase("cache"):
        clock.seconds += 75
    with pytest.raises(ValueError), progress.phase("train", total=4, unit="steps"):
        raise ValueError
    lines = [line for line in shown(terminal) if "━" not in line]
    assert lines == [
        "prior    nothing to do",
        "cache    done in 1:15",
        "train    stopped at 0/4 steps after 0.0 s",
    ]


def test_the_cursor_is_given_back(terminal: Console) -> None:
    with pytest.raises(KeyboardInterrupt), Progress([console_observer(terminal)]).phase("cache"):
        raise KeyboardInterrupt
    assert isinstance(terminal.file, io.StringIO)
    text = terminal.file.getvalue()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (12.6, "13 s"), (59.7, "1:00"), (187, "3:07"), (3723, "1:02:03")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
