"""Results of the fidelity benchmark: a JSON file for each finished case, and their table. Used by `fidelity.py`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from dreambooth_trainer.process.storage import write_json

FigureValues = Mapping[str, float | None]
"""Figures by name; None for a figure that is not defined."""

COLUMNS = {
    "subjShare": "SUBJ share",
    "presChange": "PRES change",
    "divClassRatio": "DIV ratio",
    "keep": "KEEP",
    "followBackgrounds": "FOLLOW backgrounds",
    "followScenes": "FOLLOW scenes",
}


@dataclass(frozen=True)
class Results:
    """The folder of the results."""

    folder: Path

    def add(self, case: Case, key: str, identifier: str, seconds: float, figures: FigureValues) -> None:
        """Stores the result of a case.

        Args:
            case: the case.
            key: digest of its settings.
            identifier: the word that means the subject.
            seconds: wall time of the training program, including class images that it generated.
            figures: the measured figures.
        """
        result = {"case": case.name, "key": key, "identifier": identifier, "seconds": seconds, "figures": figures}
        write_json(self._file(case), result)

    def find(self, case: Case, key: str) -> FigureValues | None:
        """The figures of a case, if it is finished with these settings."""
        try:
            result = json.loads(self._file(case).read_text())
        except FileNotFoundError:
            return None
        return result["figures"] if result["key"] == key else None

    def _file(self, case: Case) -> Path:
        return self.folder / f"{case.name}.json"


def table(finished: Mapping[Case, FigureValues]) -> str:
    """A Markdown table: mean and standard deviation over a program's runs with and without prior preservation."""
    lines = [
        f"| program | prior preservation | runs | {' | '.join(COLUMNS.values())} |",
        f"|---|---|---:|{'---:|' * len(COLUMNS)}",
    ]
    groups: dict[tuple[str, bool], list[FigureValues]] = {}
    for case, figures in finished.items():
        groups.setdefault((case.program, case.prior), []).append(figures)
    for (program, prior), runs in sorted(groups.items(), key=lambda group: (not group[0][1], group[0][0])):
        cells = [spread([figures[name] for figures in runs]) for name in COLUMNS]
        lines.append(f"| {program} | {'yes' if prior else 'no'} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float | None]) -> str:
    """`mean ± standard deviation` of the defined values; only the mean for a single value."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.3f}"
    return f"{mean} ± {statistics.stdev(known):.3f}" if len(known) > 1 else mean
