"""What is shown of a job."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup
from pydantic.alias_generators import to_camel

from dreambooth_client.seen import Seen
from dreambooth_client.words import brief, details, done, left, loss, why
from dreambooth_trainer.evaluation.criteria import CRITERIA
from dreambooth_trainer.training.loss_curve import Line
from dreambooth_ui.shown.difference import figure
from dreambooth_ui.shown.html import bullets, paragraph, table, text

HEADER = ["Name", "Phase", "Progress", "Done", "Loss", "Left", "Age", "Message"]
"""Of the list of jobs."""
MOST_POINTS = 300
"""Points of a loss curve; of more steps, it shows means of equal groups."""
POSSIBLE: Mapping[str, Sequence[str]] = {
    "Complete": ("delete",),
    "Failed": ("retry", "delete"),
    "Suspended": ("resume", "delete"),
}
"""What can be done with a job in a phase."""
USUALLY_POSSIBLE = "suspend", "delete"
"""The same in all other phases."""


def row(job: Seen, now: datetime) -> list[str]:
    """The row of a job in the list."""
    progress, age = job.status.progress, now - job.created if job.created else timedelta()
    percent = f"{progress.percent} %" if progress else ""
    age_shown = brief(age.total_seconds())
    return [job.target.name, job.phase, percent, done(job), loss(job), left(job), age_shown, why(job)]


def heading(job: Seen) -> Markup:
    """Where a job stands, why it waits or has failed, and its warnings."""
    progress = job.status.progress
    percent = progress.percent if progress else 100 * (job.phase == "Complete")
    phase = f" ({progress.phase})" if progress and progress.phase and job.phase == "Running" else ""
    title = Markup('<h2>{}</h2><p class="phase {}">{}{}</p><progress max="100" value="{}"></progress>').format(
        text(job.target.name), text(job.phase), text(job.phase), text(phase), percent
    )
    facts = [*details(job), f"identifier: {progress.identifier}" if progress and progress.identifier else ""]
    told = paragraph("   ".join(fact for fact in facts if fact))
    warnings = bullets(progress.warnings if progress else (), "warnings")
    return title + told + paragraph(why(job), "message") + warnings


def settings(job: Seen) -> Markup:
    """The main settings of a job."""
    spec = job.spec
    subjects = [spec["subject"]] if spec.get("subject") else spec.get("subjects") or []
    training = spec.get("training") or {}
    rows = {
        "class": ", ".join(one.get("class", "") for one in subjects),
        "base model": (spec.get("model") or {}).get("source"),
        "method": training.get("method"),
        "steps": training.get("steps"),
        "runtime": job.status.runtime,
        "device": job.status.progress.device if job.status.progress else None,
    }
    return table((), [(name, value) for name, value in rows.items() if value])


def figures_of(result: Mapping[str, Any] | None) -> Mapping[str, float | None]:
    """The figures in `result.json`; none without an evaluation."""
    return (result or {}).get("figures") or {}


def figures(values: Mapping[str, float | None]) -> Markup:
    """The figures of an evaluation that have a goal, with the goal."""
    rows = []
    for one in CRITERIA:
        if (value := values.get(to_camel(one.field))) is not None:
            sign = "≥" if one.higher_is_better else "≤"
            mark = "✓" if one.met(value) else "✗"
            rows.append((one.title, figure(value), f"{sign} {one.goal} {mark}", one.meaning))
    return table(("figure", "value", "goal", "meaning"), rows)


def curve(lines: Sequence[Line]) -> dict[str, list[Any]]:
    """The loss curves as columns: step, loss, and which one it is."""
    columns: dict[str, list[Any]] = {"step": [], "loss": [], "curve": []}
    size = max(1, math.ceil(len(lines) / MOST_POINTS))
    groups = [lines[start : start + size] for start in range(0, len(lines), size)]
    for name, field in (("photos", "loss"), ("class images", "priorLoss")):
        values = [fmean(float(line[field]) for line in group) for group in groups]  # type: ignore[literal-required]
        if any(values):
            columns["step"] += [group[-1]["step"] for group in groups]
            columns["loss"] += values
            columns["curve"] += [name] * len(groups)
    return columns


def on_the_way(folder: Path) -> list[tuple[Path, str]]:
    """The pictures that were generated during the training, newest first, each with its step."""
    files = sorted((folder / "samples-on-the-way").glob("step-*/*.png"))
    steps: dict[int, list[Path]] = {}
    for file in files:
        steps.setdefault(int(file.parent.name.removeprefix("step-")), []).append(file)
    return [(file, f"step {step}") for step in sorted(steps, reverse=True) for file in steps[step]]
