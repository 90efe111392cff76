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


def test_a_mask_weights_the_places_of_its_photo_alone() -> None:
    """A reference that goes through all elements."""
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 5, 4, 8, 8, generator=generator)
    places = torch.rand(2, 1, 8, 8, generator=generator)
    losses = dreambooth_loss(prediction, target, subjects=2, prior_weight=0.5, place_weight_S1HW=places)
    squares = (prediction - target) ** 2
    subject = [
        float(squares[row, channel, y, x] * places[row, 0, y, x])
        for row in range(2)
        for channel in range(4)
        for y in range(8)
        for x in range(8)
    ]
    assert losses.subject == pytest.approx(sum(subject) / len(subject), rel=1e-5)
    assert losses.class_ == pytest.approx(float(squares[2:].mean()), rel=1e-6)
    assert losses.total == pytest.approx(float(losses.subject + 0.5 * losses.class_), rel=1e-6)


def test_weights_of_one_change_nothing() -> None:
    prediction, target = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    one = dreambooth_loss(prediction, target, subjects=2, prior_weight=0.5, place_weight_S1HW=torch.ones(2, 1, 8, 8))
    assert one == dreambooth_loss(prediction, target, subjects=2, prior_weight=0.5)


def test_masked_places_get_no_gradient() -> None:
    prediction = rows(1.0, 1.0).clone().requires_grad_()
    places = torch.zeros(1, 1, 8, 8)
    places[..., 2:5, 3:7] = 64 / 12
    losses = dreambooth_loss(prediction, torch.zeros(2, 4, 8, 8), subjects=1, prior_weight=1, place_weight_S1HW=places)
    assert losses.subject.item() == pytest.approx(1)
    losses.total.backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad[0] != 0, (places[0] != 0).expand(4, 8, 8))
    assert (prediction.grad[1] != 0).all()


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
