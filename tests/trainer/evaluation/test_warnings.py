from typing import Any

import pytest

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.evaluation.figures import Figures
from dreambooth_trainer.evaluation.warnings import figure_warnings, share_learned

GOOD = Figures(
    subj=0.7,
    subj_share=0.8,
    pres_before=0.1,
    pres_after=0.13,
    pres_change=0.03,
    div_subject=0.2,
    div_class_before=0.6,
    div_class_after=0.57,
    div_class_ratio=0.95,
    keep=0.95,
    follow=0.95,
)


def warned(*, prior: bool = True, **figures: Any) -> list[str]:
    config = TrainConfig.model_validate(
        {
            "model": {"source": "embedded://emoji"},
            "subject": {"class": "dog", "images": {"path": "photos"}},
            "prior": {"enabled": prior},
        }
    )
    return list(figure_warnings([GOOD.model_copy(update=figures)], config))


def test_a_model_that_meets_the_goals_gets_no_warning() -> None:
    assert warned() == []


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            {"subj": 0.2, "subj_share": 0.2},
            "hardly learned: its pictures are about as similar to the photos (SUBJ 0.20)",
        ),
        ({"pres_change": 0.2}, "pictures of any dog have become like the subject (PRES change 0.20"),
        ({"div_class_ratio": 0.5}, "pictures of a dog have become like each other (DIV ratio 0.50"),
        ({"keep": 0.75}, "other classes have changed (KEEP 0.75"),
    ],
)
def test_what_is_far_from_its_goal_gets_one_with_a_remedy(figures: dict[str, float], said: str) -> None:
    (warning,) = warned(**figures)
    assert said in warning
    assert "Raise " in warning
    assert len(warning) <= 300, "the status would cut off the remedy"
    if "subj" not in figures:
        (warning,) = warned(prior=False, **figures)
        assert warning.endswith("Set prior.enabled to true")


@pytest.mark.parametrize(
    "figures",
    [
        {"pres_change": 0.054},
        {"div_class_ratio": 0.86},
        {"keep": 0.91},
        {"div_class_ratio": None},
        {"keep": None},
        {"subj": 0.2, "subj_share": None},
        {"pres_before": 0.9},
    ],
)
def test_noise_and_undefined_figures_get_none(figures: dict[str, Any]) -> None:
    assert warned(**figures) == []


def test_the_learned_share_is_0_for_the_class_and_1_for_the_photos() -> None:
    among = 0.7 / 0.8
    for subj, expected in ((0.1, 0), (among, 1), ((0.1 + among) / 2, 0.5)):
        assert share_learned(GOOD.model_copy(update={"subj": subj, "subj_share": subj / among})) == pytest.approx(
            expected
        )
