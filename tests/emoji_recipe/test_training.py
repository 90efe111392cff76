"""Limits, learning rate and moving average of the shared training loop."""

import pytest
import torch

from emoji_recipe.training import Average, Rate, Run, fit


def test_run_ends_at_the_first_limit() -> None:
    assert list(Run(batch=1, steps=4, seconds=60).shares()) == pytest.approx([0, 0.25, 0.5, 0.75], abs=0.01)
    assert list(Run(batch=1, steps=4, seconds=1e-9).shares()) == []


def test_rate_warms_up_stays_and_falls_to_its_floor() -> None:
    rate = Rate(peak=2.0, warm_up_steps=10, constant=0.5, floor=0.1)
    assert rate.at(step=4, share=0.1) == pytest.approx(1.0)
    assert rate.at(step=100, share=0.5) == pytest.approx(2.0)
    assert rate.at(step=100, share=0.75) == pytest.approx(2 * (0.1 + 0.9 / 2))
    assert rate.at(step=100, share=1.0) == pytest.approx(0.2)


def test_fit_makes_the_steps_and_lowers_the_loss() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = torch.optim.SGD([weight])
    seen: list[int] = []
    losses = fit("toy", Run(batch=1, steps=20), optimizer, Rate(0.4, 1), lambda: (weight**2).sum(), seen.append)
    assert seen == list(range(1, 21))
    assert losses[0] == 9.0 and losses[-1] < 1.0


def test_average_follows_its_source() -> None:
    source = torch.nn.Linear(1, 1, bias=False)
    average = Average(source, decay=0.9)
    start = source.weight.item()
    with torch.no_grad():
        source.weight += 1
    average.update(step=10_000)
    assert average.module.weight.item() == pytest.approx(start + 0.1)
    average.update(step=1)
    assert average.module.weight.item() == pytest.approx(start + 0.1 + 0.9 * (1 - 2 / 11))
    assert not average.module.weight.requires_grad
