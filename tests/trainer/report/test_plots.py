import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_trainer.report.plots import grouped, smoothed

values = st.lists(st.floats(0, 10), min_size=1, max_size=60).map(np.array)


def test_grouped_means() -> None:
    assert grouped(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist() == [2.0, 6.0]
    assert grouped(np.array([1.0, 2.0]), 5).tolist() == [1.0, 2.0]


def test_smoothing_at_the_ends_averages_the_available_values() -> None:
    assert smoothed(np.array([3.0, 0.0, 0.0, 9.0]), 3) == pytest.approx([1.5, 1.0, 3.0, 4.5])


@given(values, st.data())
def test_smoothed_keeps_length_and_range(series: np.ndarray, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, len(series)))
    result = smoothed(series, window)
    assert len(result) == len(series)
    assert result.min() >= series.min() - 1e-9
    assert result.max() <= series.max() + 1e-9
