"""The results of a part of the check: `parts.py` writes them and `check.py` reads them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed import SCRIPT, Measured
from dreambooth_trainer.process.storage import write_json

SKIPPED_CODE = 77
"""Exit code of a skipped part, as in automake's tests."""

SPEEDS = {
    "steps_per_second": "steps/s",
    "steady_steps_per_second": "last half",
    "class_images_per_second": "class images/s",
    "first_step_seconds": "s to step 1",
    "seconds": "s in all",
    "device_memory_gib": "GPU GiB",
}
"""Quantities in a line about speed."""


@dataclass(frozen=True)
class Settings:
    """Settings of the parts."""

    pretend: bool
    """Whether everything is tiny and runs on a CPU."""
    script: str | None
    """diffusers' `train_dreambooth.py`."""
    work: str
    """Folder for the random model and the files of the runs."""
    text_encoder: bool
    """Whether the text encoder is trained too."""
    seconds: float
    """Most seconds of the part."""


@dataclass
class Found:
    """Figures of a part. They are saved after each measurement, so that a terminated part leaves its figures."""

    file: Path
    summary: str = ""
    """The most important figures, in one line."""
    figures: dict[str, Any] = field(default_factory=dict)
    """All figures."""
    table: str = ""
    """A Markdown table of the figures; empty if the line is enough."""

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
    """One line for runs of several programs: the value of each program, and its ratio to the value of the script."""
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
