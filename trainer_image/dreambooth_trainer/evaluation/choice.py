"""Chooses the step of a training whose weights become the model, by the figures at some steps. Called by
`phases/choose.py`; the report shows the result."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.evaluation.figures import CRITERIA, Criterion, Figures
from dreambooth_trainer.evaluation.warnings import LEAST_DIV, MOST_PRES

MARGIN = 0.01
"""A later step must have a SUBJ that is higher by more than this: fewer steps change the rest of the model less."""

LEAST_FOLLOW = 0.85
"""Bound of FOLLOW."""
LIMITS = {"pres_change": MOST_PRES, "div_class_ratio": LEAST_DIV, "follow": LEAST_FOLLOW}
BOUNDS = tuple(replace(one, goal=LIMITS[one.field]) for one in CRITERIA if one.field in LIMITS)
"""The figures that must stay within bounds. The bounds are wider than the goals, since few pictures are compared."""

REMEDY = "Raise prior.weight or prior.images, or train with a lower learning rate in another folder"


class Candidate(JsonModel):
    """The figures of the weights after a step."""

    step: int
    """Optimizer steps done."""
    figures: Figures


class Choice(JsonModel):
    """The step whose weights became the model."""

    step: int
    reason: str
    """Why this step, for people."""
    warnings: tuple[str, ...] = ()
    """What is wrong with all steps, with a remedy."""
    candidates: list[Candidate]
    """All that were compared, in the order of their steps."""


def choose_among(candidates: Sequence[Candidate], steps: int) -> Choice:
    """Chooses one of the candidates.

    The first candidate is chosen, until a later one is better:

    - If both are within all of `BOUNDS`, the later one is better if its SUBJ is higher by more than `MARGIN`.
    - Otherwise it is better if it is less far out of bounds; see `violation`.

    So the chosen SUBJ is at most `MARGIN` below the highest one within bounds.

    Args:
        candidates: one or more, in the order of their steps.
        steps: steps of the whole training.
    """
    chosen = reduce(lambda best, later: later if _is_better(later, best) else best, candidates)
    missed = [criterion for criterion in BOUNDS if _excess(criterion, chosen.figures)]
    names = ", ".join(criterion.title for criterion in BOUNDS)
    if not missed:
        why = f"among the steps whose {names} are within bounds, the first whose SUBJ is within {MARGIN} of the highest one"
        warnings: tuple[str, ...] = ()
    else:
        values = ", ".join(f"{one.title} {getattr(chosen.figures, one.field):.2f}" for one in missed)
        why = f"no step has {names} within bounds, and this one is least far from them: {values}"
        warnings = (f"step {chosen.step} became the model: {why}. {REMEDY}",)
    return Choice(
        step=chosen.step,
        reason=f"Step {chosen.step} of {steps}: {why}.",
        warnings=warnings,
        candidates=list(candidates),
    )


def violation(figures: Figures) -> float:
    """How far the worst figure is out of bounds, in units of the bound's distance to the figure of an unchanged model; 0 if all
    are within bounds.

    A figure that is not defined violates nothing; one that is not a number, SUBJ included, violates infinitely.
    """
    if not math.isfinite(figures.subj):
        return math.inf
    return max(_excess(criterion, figures) for criterion in BOUNDS)


def _is_better(later: Candidate, best: Candidate) -> bool:
    before, now = violation(best.figures), violation(later.figures)
    if before or now:
        return now < before
    return later.figures.subj > best.figures.subj + MARGIN


def _excess(criterion: Criterion, figures: Figures) -> float:
    value: float | None = getattr(figures, criterion.field)
    if value is None or criterion.met(value):
        return 0
    unchanged = 1 if criterion.higher_is_better else 0
    return abs(value - criterion.goal) / abs(unchanged - criterion.goal) if math.isfinite(value) else math.inf
