"""Plots of the report, as SVG that uses the page's colours and fonts. Called by `report.render`."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from dreambooth_trainer.evaluation.choice import Choice
from dreambooth_trainer.evaluation.criteria import CRITERIA, Criterion

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = NDArray[np.float64]

MAX_POINTS = 1000
"""Most points of a line. For more steps, the plot shows the means of equal groups."""
SMOOTHED_SHARE = 0.05
"""Width of the window of the moving average, as a share of the training."""

SUBJECT, CLASS, RATE = "#d9622b", "#2b7fd9", "#7c6bd6"
INK = "#010203"
"""Placeholder for the page's text colour."""


@dataclass(frozen=True)
class Plot:
    """A plot and its title."""

    title: str
    svg: Markup


def loss_plots(losses: Sequence[Mapping[str, object]]) -> list[Plot]:
    """Loss of the subject, loss of the class if there are class images, and learning rate, over the steps."""
    steps = np.array([line["step"] for line in losses], dtype=float)
    series = (
        ("Loss of the subject", "loss", SUBJECT),
        ("Loss of the class", "priorLoss", CLASS),
        ("Learning rate", "learningRate", RATE),
    )
    plots = []
    for title, field, colour in series:
        values = np.array([line[field] for line in losses], dtype=float)
        if values.any():
            smooth = field != "learningRate"
            add = partial(_add_curve, steps=steps, values=values, colour=colour, smooth=smooth)
            plots.append(Plot(title, _svg(title, add)))
    return plots


def figure_plots(choice: Choice) -> list[Plot]:
    """Each figure that has a goal over the steps that were compared, with a dashed line at the goal and a vertical line at the
    chosen step."""
    return [
        Plot(criterion.title, _svg(criterion.title, partial(_add_figure, choice=choice, criterion=criterion)))
        for criterion in CRITERIA
        if any(getattr(one.figures, criterion.field) is not None for one in choice.candidates)
    ]


def grouped(values: Series, points: int = MAX_POINTS) -> Series:
    """The means of at most `points` equal groups of neighbouring values, [min(N, points)]."""
    return np.array([group.mean() for group in np.array_split(values, min(len(values), points))])


def smoothed(values: Series, window: int) -> Series:
    """Centred moving average [N]; at both ends over the part of the window that is inside."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _add_curve(axes: "Axes", *, steps: Series, values: Series, colour: str, smooth: bool) -> None:
    x, raw = grouped(steps), grouped(values)
    marker = "o" if len(x) == 1 else None
    axes.plot(x, raw, color=colour, linewidth=1 if smooth else 2, alpha=0.3 if smooth else 1, marker=marker)
    if smooth:
        window = min(max(3, round(len(raw) * SMOOTHED_SHARE)), len(raw))
        axes.plot(x, smoothed(raw, window), color=colour, linewidth=2)
    axes.set_ylim(bottom=0)


def _add_figure(axes: "Axes", *, choice: Choice, criterion: Criterion) -> None:
    # A figure that is not defined leaves a gap.
    values = [getattr(one.figures, criterion.field) for one in choice.candidates]
    numbers = [math.nan if value is None else value for value in values]
    axes.plot([one.step for one in choice.candidates], numbers, color=SUBJECT, linewidth=2, marker="o")
    axes.axhline(criterion.goal, color=CLASS, linewidth=1, linestyle="--")
    axes.axvline(choice.step, color=INK, linewidth=1, alpha=0.5)


def _svg(title: str, add: Callable[["Axes"], None]) -> Markup:
    """A plot over the steps, to whose axes `add` adds lines."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # With the hash salt, the ids of clip paths differ between the plots of a page, and are the same in every report.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 11}):
        figure = Figure(figsize=(4.4, 2.5), layout="constrained")
        axes = figure.add_subplot()
        add(axes)
        axes.set_xlabel("step", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(colors=INK)
        axes.yaxis.get_offset_text().set_color(INK)
        axes.grid(axis="y", color=INK, alpha=0.12)
        output = io.StringIO()
        metadata: dict[str, Sequence[str] | None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(output, format="svg", transparent=True, metadata=metadata)
    svg = output.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return Markup(svg)  # It contains no text of the user.
