"""What a part of the check found, as `parts.py` writes it and `check.py` reads it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed import SCRIPT, Measured
from dreambooth_trainer.process.storage import write_json

SKIPPED_CODE = 77
"""Exit code of a part that lacks something; as automake's tests have it."""

SPEEDS = {
    "steps_per_second": "steps/s",
    "steady_steps_per_second": "last half",
    "class_images_per_second": "class images/s",
    "first_step_seconds": "s to step 1",
    "seconds": "s in all",
    "device_memory_gib": "GPU GiB",
}
"""Quantities of a line about speed."""


@dataclass(frozen=True)
class Settings:
    """What the parts are told."""

    pretend: bool
    """Whether everything is tiny and runs on a CPU."""
    script: str | None
    """diffusers' `train_dreambooth.py`."""
    work: str
    """Folder of what is built once and of what the runs leave."""
    text_encoder: bool
    """Whether the text encoder trains too."""
    seconds: float
    """How long the part may take."""


@dataclass
class Found:
    """Figures of a part, written anew each time that there are more, so that a part that is ended leaves those it has."""

    file: Path
    summary: str = ""
    """The figures that matter, for a line."""
    figures: dict[str, Any] = field(default_factory=dict)
    """All figures."""
    table: str = ""
    """A Markdown table of them, where a line is too short."""

    def save(self) -> None:
        """Writes the file."""
        content = {name: value for name, value in asdict(self).items() if name != "file"}
        write_json(self.file, content)


@dataclass(frozen=True)
class PytestSummary:
    """The end of a run of pytest."""

    counts: dict[str, int]
    """Number of tests by outcome."""
    failing: list[str]
    """Names of the tests that failed or had an error."""

    @property
    def summary(self) -> str:
        """Counts and the first failing tests."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items()) or "no summary"
        names = "; ".join(self.failing[:5])
        return f"{counts}: {names}{' ...' if len(self.failing) > 5 else ''}" if names else counts


def pytest_summary(output: str) -> PytestSummary:
    """Reads what pytest prints at its end."""
    last = re.findall(r"^=* ?((?:\d+ \w+(?:, )?)+) in [\d.]+s.*$", output, re.MULTILINE)
    counts = {outcome: int(count) for count, outcome in re.findall(r"(\d+) (\w+)", last[-1])} if last else {}
    failing = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return PytestSummary(counts, list(dict.fromkeys(failing)))


def speeds(measured: Sequence[Measured]) -> str:
    """One line for runs of several programs: each program's value and, behind it, its ratio to the script's."""
    parts = []
    for name, title in SPEEDS.items():
        values: Mapping[str, float] = {
            one.program: value for one in measured if (value := getattr(one, name)) is not None
        }
        anchor = values.get(SCRIPT)
        texts = [
            f"{program} {value:.2f}" + (f" ({value / anchor:.2f}x)" if anchor and program != SCRIPT else "")
            for program, value in values.items()
        ]
        if texts:
            parts.append(f"{title}: {', '.join(texts)}")
    return "; ".join(parts)
