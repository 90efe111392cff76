import pytest
import torch

from dreambooth_trainer.training.ema import Average


def test_the_average_follows_its_formula() -> None:
    weights = [torch.tensor([1.0, 2.0]), torch.tensor([[5.0]])]
    average, expected = Average(weights, decay=0.3), 1.0
    for step in range(5):
        weights[0][0] = value = float(step + 2)
        average.update(weights, step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.tensors[0].tolist() == pytest.approx([expected, 2.0])
    assert average.tensors[1].item() == 5


def test_the_decay_is_reached_from_below() -> None:
    average = Average([torch.zeros(1)], decay=0.99)
    average.update([torch.ones(1)], step=0)
    assert average.tensors[0].item() == pytest.approx(0.9)
    late = Average([torch.zeros(1)], decay=0.99)
    late.update([torch.ones(1)], step=100_000)
    assert late.tensors[0].item() == pytest.approx(0.01)


def test_the_average_shares_no_memory_with_the_weights() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    average = Average(weights, decay=0.9)
    with torch.no_grad():
        weights[0].fill_(7)
    assert average.tensors[0].item() == 0


def test_the_average_takes_the_place_of_the_weights_for_a_while() -> None:
    weights = [torch.nn.Parameter(torch.ones(2))]
    average, place = Average(weights, decay=0.9), weights[0].data_ptr()
    with torch.no_grad():
        weights[0].fill_(7)
    with average.in_place_of(weights):
        assert weights[0].tolist() == [1, 1]
    assert weights[0].tolist() == [7, 7]
    assert average.tensors[0].tolist() == [1, 1]
    assert weights[0].data_ptr() == place
