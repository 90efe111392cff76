import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_trainer.evaluation.choice import BOUNDS, MARGIN, Candidate, Choice, choose_among, violation
from dreambooth_trainer.evaluation.criteria import CRITERIA
from dreambooth_trainer.evaluation.figures import Figures


def figures(subj: float, **more: float | None) -> Figures:
    """Figures within all bounds, except for those that are given."""
    values: dict[str, float | None] = {
        "subj_share": subj / 0.9,
        "pres_before": 0.1,
        "pres_after": 0.1,
        "pres_change": 0,
        "div_subject": 0.2,
        "div_class_before": 0.5,
        "div_class_after": 0.5,
        "div_class_ratio": 1,
        "keep": 1,
        "follow": 1,
    }
    return Figures.model_validate({"subj": subj, **values, **more})


def chosen(*found: Figures) -> Choice:
    """The choice among steps 1, 2, 3 and so on."""
    return choose_among([Candidate(step=number, figures=one) for number, one in enumerate(found, 1)], len(found))


def step_of(*found: Figures) -> int:
    return chosen(*found).step


def test_the_first_step_of_a_plateau_is_chosen() -> None:
    assert step_of(figures(0.5), figures(0.7), figures(0.705), figures(0.709)) == 2


def test_a_slow_rise_is_followed() -> None:
    assert step_of(figures(0.5), figures(0.506), figures(0.512), figures(0.518)) == 3


def test_a_fall_is_not_followed() -> None:
    assert step_of(figures(0.5), figures(0.7), figures(0.6)) == 2


@pytest.mark.parametrize(
    "beyond",
    [{"pres_change": 0.061}, {"div_class_ratio": 0.79}, {"follow": 0.84}, {"keep": None, "follow": 0.5}],
    ids=str,
)
def test_a_step_out_of_bounds_is_not_chosen(beyond: dict[str, float]) -> None:
    assert step_of(figures(0.5), figures(0.7, **beyond)) == 1
    assert step_of(figures(0.7, **beyond), figures(0.5)) == 2
    choice = chosen(figures(0.5), figures(0.7, **beyond))
    assert choice.warnings == ()
    assert choice.reason.startswith(
        "Step 1 of 2: among the steps whose PRES change, DIV ratio, FOLLOW are within bounds"
    )


def test_without_a_step_within_bounds_the_nearest_is_chosen_with_a_warning() -> None:
    choice = chosen(figures(0.7, follow=0.6), figures(0.5, follow=0.8), figures(0.9, follow=0.84, pres_change=0.12))
    assert choice.step == 2
    (warning,) = choice.warnings
    assert "least far from them: FOLLOW 0.80. Raise prior.weight" in warning


def test_figures_that_are_not_defined_count_for_nothing() -> None:
    """Those of a single photo, and of base models whose pictures are all equal."""
    single = {"subj_share": None, "div_class_ratio": None, "keep": None}
    assert step_of(figures(0.5, **single), figures(0.7, **single)) == 2
    assert violation(figures(0.5, **single)) == 0


def test_figures_that_are_no_numbers_are_never_better() -> None:
    assert step_of(figures(0.5), figures(math.nan)) == 1
    assert step_of(figures(math.nan), figures(0.5)) == 2
    assert step_of(figures(0.5), figures(0.9, follow=math.nan)) == 1
    assert step_of(figures(0.9, follow=math.nan), figures(0.5)) == 2


def test_a_single_step_is_chosen() -> None:
    assert step_of(figures(0.1, follow=0)) == 1


found = st.builds(figures, st.floats(-1, 1), follow=st.floats(0, 1), pres_change=st.floats(-1, 1))


@given(st.lists(found, min_size=1, max_size=8))
def test_the_choice_keeps_its_promise(all_figures: Sequence[Figures]) -> None:
    best = all_figures[step_of(*all_figures) - 1]
    assert violation(best) == min(map(violation, all_figures))
    within = [one for one in all_figures if violation(one) == 0]
    if within:
        enough = max(one.subj for one in within) - MARGIN
        assert best is next(one for one in within if one.subj >= enough)


def test_bounds_are_wider_than_goals() -> None:
    assert {one.field for one in BOUNDS} == {"pres_change", "div_class_ratio", "follow"}
    goals = {one.field: one.goal for one in CRITERIA}
    assert all(one.met(goals[one.field]) for one in BOUNDS)
