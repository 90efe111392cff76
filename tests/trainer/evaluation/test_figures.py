import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dreambooth_trainer.evaluation import figures
from dreambooth_trainer.evaluation.criteria import CRITERIA
from dreambooth_trainer.evaluation.figures import Embeddings, Figures, OtherClass

EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
NORTH_EAST = [math.sqrt(0.5), math.sqrt(0.5)]


def unit(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)


@st.composite
def embedded(draw: st.DrawFn, least: int = 2) -> Tensor:
    """A few rows of unit length."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    count = draw(st.integers(least, 6))
    return torch.nn.functional.normalize(torch.randn(count, 5, generator=generator), dim=1)


def test_similarity_is_the_mean_over_all_pairs() -> None:
    assert figures.similarity(unit([EAST, NORTH]), unit([EAST, WEST])) == pytest.approx((1 - 1 + 0 + 0) / 4)
    assert figures.similarity(unit([NORTH_EAST]), unit([EAST, NORTH])) == pytest.approx(math.sqrt(0.5))


def test_similarity_among_leaves_out_pairs_of_a_picture_with_itself() -> None:
    assert figures.similarity_among(unit([EAST, NORTH, WEST])) == pytest.approx((0 - 1 + 0) / 3)


@given(embedded())
def test_similarity_among_by_the_mean_over_all_pairs(pictures_ND: Tensor) -> None:
    count = len(pictures_ND)
    distinct = (count**2 * figures.similarity(pictures_ND, pictures_ND) - count) / (count * (count - 1))
    assert figures.similarity_among(pictures_ND) == pytest.approx(distinct, abs=1e-5)


@given(embedded())
def test_diversity_is_zero_for_copies_and_at_most_two(pictures_ND: Tensor) -> None:
    assert -1e-5 <= figures.diversity(pictures_ND) <= 2 + 1e-5
    assert figures.diversity(pictures_ND[:1].repeat(4, 1)) == pytest.approx(0, abs=1e-5)


def test_keep_divides_the_means_over_classes() -> None:
    steady = OtherClass(unit([EAST]), unit([EAST]), unit([NORTH_EAST]))
    varied = OtherClass(unit([EAST]), unit([NORTH_EAST]), unit([NORTH]))
    assert figures.keep([steady]) == pytest.approx(math.sqrt(0.5))
    assert figures.keep([steady, varied]) == pytest.approx((math.sqrt(0.5) + 0) / (1 + math.sqrt(0.5)))


def test_keep_compares_directions_of_means_not_their_lengths() -> None:
    scattered = OtherClass(unit([EAST, NORTH]), unit([NORTH_EAST]), unit([NORTH, EAST]))
    assert figures.keep([scattered]) == pytest.approx(1)


@given(embedded(), embedded())
def test_keep_of_an_unchanged_model_is_one_where_it_is_defined(a_ND: Tensor, b_ND: Tensor) -> None:
    kept = figures.keep([OtherClass(a_ND, b_ND, b_ND)])
    itself = float(a_ND.mean(dim=0) @ b_ND.mean(dim=0))
    assert kept == (pytest.approx(1) if itself > 0 else None)


def test_follow_counts_pictures_nearest_to_their_own_text() -> None:
    pictures_ND = unit([EAST, NORTH, NORTH_EAST, WEST])
    texts_CD = unit([EAST, NORTH])
    assert figures.follow(pictures_ND, texts_CD, torch.tensor([0, 1, 0, 0])) == pytest.approx(3 / 4)


@given(embedded(least=3), st.randoms())
def test_figures_do_not_depend_on_the_order_of_pictures(pictures_ND: Tensor, random) -> None:
    order = list(range(len(pictures_ND)))
    random.shuffle(order)
    shuffled_ND = pictures_ND[order]
    assert figures.diversity(shuffled_ND) == pytest.approx(figures.diversity(pictures_ND), abs=1e-5)
    texts_CD, own_N = pictures_ND[:2], torch.arange(len(pictures_ND)) % 2
    assert figures.follow(shuffled_ND, texts_CD, own_N[order]) == figures.follow(pictures_ND, texts_CD, own_N)


def embeddings(photos_ND: Tensor) -> Embeddings:
    return Embeddings(
        photos_ND=photos_ND,
        subject_ND=unit([EAST, NORTH_EAST]),
        in_contexts_ND=unit([EAST, EAST]),
        context_N=torch.tensor([0, 1]),
        context_texts_CD=unit([EAST, NORTH]),
        class_before_ND=unit([EAST, NORTH]),
        class_after_ND=unit([EAST, NORTH_EAST]),
        others=[OtherClass(unit([EAST]), unit([EAST]), unit([NORTH_EAST]))],
    )


def test_all_figures_of_a_small_example() -> None:
    half = math.sqrt(0.5)
    found = figures.compute(embeddings(unit([EAST, NORTH_EAST])))
    subj = (3 * (1 + half) / 2 + (half + 1) / 2) / 4
    expected = {
        "subj": subj,
        "subjShare": subj / half,
        "presBefore": (1 + half + 0 + half) / 4,
        "presAfter": (1 + half + half + 1) / 4,
        "presChange": 0.25,
        "divSubject": 1 - half,
        "divClassBefore": 1.0,
        "divClassAfter": 1 - half,
        "divClassRatio": 1 - half,
        "keep": half,
        "follow": 0.5,
    }
    assert found.model_dump() == pytest.approx(expected)


def test_a_single_photo_has_no_share() -> None:
    found = figures.compute(embeddings(unit([EAST])))
    assert found.subj_share is None
    assert Figures.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("field", "good", "poor"),
    [
        ("subj_share", 0.8, 0.79),
        ("pres_change", 0.03, 0.031),
        ("pres_change", -0.5, 0.1),
        ("div_class_ratio", 0.95, 0.94),
        ("keep", 1.1, 0.94),
        ("follow", 0.95, 0.9),
    ],
)
def test_goals(field: str, good: float, poor: float) -> None:
    criterion = next(criterion for criterion in CRITERIA if criterion.field == field)
    assert criterion.met(good)
    assert not criterion.met(poor)


def test_every_criterion_names_a_figure() -> None:
    assert {criterion.field for criterion in CRITERIA} <= set(Figures.model_fields)
