"""Start and end times of the stages of a run, from the output of each program. Used by `speed.py`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.timed import Mark

_CLASS_IMAGES = re.compile(r"Generating class images:.*\| *(\d+)/(\d+) \[")
_STEPS = re.compile(r"Steps:.*\| *(\d+)/(\d+) \[")


@dataclass(frozen=True)
class Stages:
    """Times in seconds."""

    class_images: float
    """Duration of the generation of the class images."""
    first_step: float
    """From the start of the program to the beginning of the first training step."""
    training: float
    """From the beginning of the first training step to the end of the last."""


def stages_of_script(marks: Sequence[Mark]) -> Stages:
    """Stages of diffusers' script by its progress bars, which it prints at 0 and at least once more at the end.

    Raises:
        ValueError: a bar is missing or did not reach its end.
    """
    class_images, steps = _bar(marks, _CLASS_IMAGES), _bar(marks, _STEPS)
    return Stages(class_images[1] - class_images[0], steps[0], steps[1] - steps[0])


def stages_of_trainer(marks: Sequence[Mark], last_step: float) -> Stages:
    """Stages of this project's trainer by its output lines.

    Args:
        marks: its output.
        last_step: seconds from its start to the end of its last step. The line that ends the phase comes later, when
            the weights are on the disk.

    Raises:
        ValueError: a line is missing.
    """
    prior = _first(marks, "prior: done") - _first(marks, "prior: started")
    first_step = _first(marks, "train: started")
    return Stages(prior, first_step, last_step - first_step)


def steps_of_script(marks: Sequence[Mark]) -> list[tuple[float, int]]:
    """The finished steps of diffusers' script, with times in seconds."""
    return [(mark.seconds, int(match[1])) for mark in marks if (match := _STEPS.search(mark.text))]


def steady_rate(done: Sequence[tuple[float, int]]) -> float | None:
    """Steps per second over the last half of the steps, without warm-up; None if there are too few times.

    Args:
        done: times in seconds with the number of steps done.
    """
    late = [(seconds, steps) for seconds, steps in done if 2 * steps >= done[-1][1]]
    if not late:
        return None
    # A bar is printed more than once at its end.
    end = next(seconds for seconds, steps in late if steps == late[-1][1])
    (begin, before), after = late[0], late[-1][1]
    return (after - before) / (end - begin) if end > begin else None


def _bar(marks: Iterable[Mark], pattern: re.Pattern[str]) -> tuple[float, float]:
    """The times at which a progress bar was first printed at 0 and at its end."""
    seen = [(mark.seconds, int(match[1]), int(match[2])) for mark in marks if (match := pattern.search(mark.text))]
    begun = [seconds for seconds, done, _ in seen if done == 0]
    ended = [seconds for seconds, done, total in seen if done == total]
    if not begun or not ended:
        raise ValueError(f"no complete progress bar {pattern.pattern!r} in the output")
    return begun[0], ended[0]


def _first(marks: Iterable[Mark], beginning: str) -> float:
    for mark in marks:
        if mark.text.startswith(beginning):
            return mark.seconds
    raise ValueError(f"no line {beginning!r} in the output")
