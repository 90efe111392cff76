import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_trainer.training.loss import dreambooth_loss


def rows(*values: float) -> torch.Tensor:
    """Predictions that miss a target of zero by a value in every element of a row."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 4, 8, 8)


def test_subject_and_class_are_averaged_apart_and_added() -> None:
    prediction = rows(1, 3, 2, 2, 2)
    losses = dreambooth_loss(prediction, torch.zeros(5, 4, 8, 8), subjects=2, prior_weight=0.5)
    assert losses.subject == (1 + 9) / 2
    assert losses.class_ == 4
    assert losses.total == 5 + 0.5 * 4


def test_without_class_images_only_the_subject_counts() -> None:
    losses = dreambooth_loss(rows(1, 3), torch.zeros(2, 4, 8, 8), subjects=2, prior_weight=1)
    assert (losses.total, losses.subject, losses.class_) == (5, 5, 0)


def test_each_row_is_weighted_by_itself() -> None:
    weight = torch.tensor([2.0, 0.0, 0.5, 1.0])
    losses = dreambooth_loss(rows(1, 3, 2, 4), torch.zeros(4, 4, 8, 8), subjects=2, prior_weight=1, weight_N=weight)
    assert losses.subject == (2 * 1 + 0) / 2
    assert losses.class_ == (0.5 * 4 + 16) / 2


@given(st.integers(1, 4), st.integers(0, 4), st.floats(0, 10))
def test_with_equal_weights_it_is_the_mean_squared_error(subjects: int, classes: int, prior_weight: float) -> None:
    generator = torch.Generator().manual_seed(subjects * 10 + classes)
    prediction, target = torch.randn(2, subjects + classes, 4, 8, 8, generator=generator)
    expected = torch.nn.functional.mse_loss(prediction[:subjects], target[:subjects])
    if classes:
        expected = expected + prior_weight * torch.nn.functional.mse_loss(prediction[subjects:], target[subjects:])
    total = dreambooth_loss(prediction, target, subjects=subjects, prior_weight=prior_weight).total
    assert total == pytest.approx(expected.item(), rel=1e-5)


def test_halves_are_compared_in_float32() -> None:
    # Squared and summed in float16 this would overflow.
    losses = dreambooth_loss(rows(300).half(), torch.zeros(1, 4, 8, 8).half(), subjects=1, prior_weight=1)
    assert losses.total == 90_000 and losses.total.dtype == torch.float32


def test_gradients_reach_the_prediction_only_by_its_rows_weight() -> None:
    prediction = rows(1.0, 1.0, 1.0, 1.0).clone().requires_grad_()
    losses = dreambooth_loss(prediction, torch.zeros(4, 4, 8, 8), subjects=1, prior_weight=0.5)
    losses.total.backward()
    assert prediction.grad is not None
    per_row = prediction.grad.flatten(1).sum(1)
    assert per_row.tolist() == pytest.approx([2.0, 1 / 3, 1 / 3, 1 / 3])
