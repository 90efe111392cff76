"""Chooses the step of a training whose weights become the model, by the figures at some steps. Called by
`phases/choose.py`; the report shows the result."""

import math
from collections.abc import Sequence
from dataclasses import replace

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.evaluation.criteria import CRITERIA, Criterion
from dreambooth_trainer.evaluation.figures import Figures
from dreambooth_trainer.evaluation.warnings import LEAST_DIV, MOST_PRES

MARGIN = 0.01
"""Differences of SUBJ that do not count: with fewer steps, the rest of the model changes less."""

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
    """With several subjects, those of the weakest one."""


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

    Among those that are within all of `BOUNDS`, it is the first whose SUBJ is at most `MARGIN` below the highest one. If there
    are none, it is the first of those that are least far out of bounds; see `violation`.

    Args:
        candidates: one or more, in the order of their steps.
        steps: steps of the whole training.
    """
    within = [one for one in candidates if violation(one.figures) == 0]
    if within:
        highest = max(one.figures.subj for one in within)
        chosen = next(one for one in within if one.figures.subj >= highest - MARGIN)
    else:
        chosen = min(candidates, key=lambda one: violation(one.figures))
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


def weakest(subjects: Sequence[Figures]) -> Figures:
    """The figures of the subject that is furthest out of bounds; among subjects within bounds, of the one with the lowest SUBJ.

    Args:
        subjects: the figures of one or more subjects.
    """
    return max(subjects, key=lambda figures: (violation(figures), -figures.subj))


def violation(figures: Figures) -> float:
    """How far the worst figure is out of bounds, in units of the bound's distance to the figure of an unchanged model; 0 if all
    are within bounds.

    A figure that is not defined violates nothing; one that is not a number, SUBJ included, violates infinitely.
    """
    if not math.isfinite(figures.subj):
        return math.inf
    return max(_excess(criterion, figures) for criterion in BOUNDS)


def _excess(criterion: Criterion, figures: Figures) -> float:
    value: float | None = getattr(figures, criterion.field)
    if value is None or criterion.met(value):
        return 0
    unchanged = 1 if criterion.higher_is_better else 0
    return abs(value - criterion.goal) / abs(unchanged - criterion.goal) if math.isfinite(value) else math.inf
