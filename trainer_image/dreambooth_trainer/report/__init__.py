"""The report of a run: one HTML file without scripts, for offline use and for print.

Called by `result.py` at the end of a run with plain values and paths. It does not depend on the training.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from PIL import Image

from dreambooth_api.printing import printable
from dreambooth_trainer.evaluation.choice import Choice
from dreambooth_trainer.evaluation.criteria import CRITERIA, Criterion
from dreambooth_trainer.evaluation.figures import Figures
from dreambooth_trainer.evaluation.pictures import Comparison
from dreambooth_trainer.monitoring.console import duration
from dreambooth_trainer.process.storage import write_atomically
from dreambooth_trainer.report.plots import figure_plots, loss_plots

THUMBNAIL = 256
"""Longest side of a picture in the report in pixels. Smaller pictures are embedded without a change."""
PER_CELL = 8
"""Most pictures of one prompt and one model: a report of fifty prompts with many pictures must still open."""


@dataclass(frozen=True)
class ReportedSubject:
    """A subject in a report."""

    name: str
    """Its name among several subjects; empty for the only one."""
    class_: str
    """Its class noun."""
    identifier: str
    """The word that means it."""
    prompt: str
    """The prompt for it, with identifier and class filled in."""
    photos: Sequence[Path]
    captions: Mapping[Path, str]
    """Captions of photos that have one, with identifier and class filled in."""
    figures: Figures | None
    """None without an evaluation."""
    nearest: Mapping[str, float]
    """Share of its pictures that are nearest to the photos of each of several subjects; empty without an evaluation."""


@dataclass(frozen=True)
class ReportData:
    """The content of a report."""

    name: str
    """Name of the run."""
    folder: Path
    """Folder of the run, to which the paths of all pictures are relative."""
    subjects: Sequence[ReportedSubject]
    base_model: str
    """Source of the base model, with the commit if it comes from the hub."""
    warnings: Sequence[str]
    """Warnings about the figures, the photos, the identifier and the prompts."""
    samples: Sequence[Comparison]
    comparisons: Sequence[Comparison]
    """Pictures of the class and of other classes."""
    losses: Sequence[Mapping[str, object]]
    """`step`, `loss`, `priorLoss` and `learningRate` of each step; `priorLoss` is 0 without class images."""
    choice: Choice | None
    """The step whose weights became the model; None without a choice."""
    settings: Mapping[str, Any]
    """The settings with all defaults, by their names in the manifest."""
    versions: Mapping[str, str]
    """Version of each library."""
    device: str
    timings: Mapping[str, float]
    """Seconds of each phase, in the order of the phases."""
    memory: Mapping[str, tuple[int | None, int]]
    """Bytes of each phase, planned and measured; see `result.PhaseBytes`."""
    exported: Mapping[str, str]
    """SHA-256 of each exported file, by its path."""


@dataclass(frozen=True)
class Verdict:
    """One row of the figures table."""

    criterion: Criterion
    value: float | None

    @property
    def word(self) -> str:
        """The verdict, also the class in the style sheet."""
        if self.value is None:
            return "undefined"
        return "good" if self.criterion.met(self.value) else "poor"


def write_report(path: Path, report: ReportData) -> None:
    """Writes the report.

    Raises:
        OSError: a picture can't be read, or the report can't be written.
    """
    write_atomically(path, render(report))


def render(report: ReportData) -> str:
    """The report as HTML, with all pictures and plots."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        finalize=_as_text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(picture=lambda path: picture_uri(report.folder / path), duration=duration)
    return environment.get_template("template.html.j2").render(
        report=report,
        verdicts=verdicts,
        figures=_all_figures,
        plots=loss_plots(report.losses),
        choice_plots=figure_plots(report.choice) if report.choice else [],
        settings=yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True),
        photos=sum(len(one.photos) for one in report.subjects),
        per_cell=PER_CELL,
    )


def _as_text(value: Any) -> Any:
    """A value for the template, without characters that change the direction of text."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def verdicts(figures: Figures | None) -> list[Verdict]:
    """The verdict on each figure that has a goal; empty without an evaluation."""
    if figures is None:
        return []
    return [Verdict(criterion, getattr(figures, criterion.field)) for criterion in CRITERIA]


def picture_uri(path: Path) -> str:
    """A picture as a data URI: WebP of at most `THUMBNAIL` pixels a side, lossless if it was not larger."""
    with Image.open(path) as image:
        small = max(image.size) <= THUMBNAIL
        picture = image.convert("RGB")
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "WEBP", lossless=small, quality=85)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _all_figures(figures: Figures | None) -> list[tuple[str, str, float | None]]:
    """Name, definition and value of every figure, from the fields of `Figures`."""
    if figures is None:
        return []
    return [
        (field.alias or name, field.description or "", getattr(figures, name))
        for name, field in Figures.model_fields.items()
    ]
