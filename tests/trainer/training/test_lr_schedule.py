import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_api.training import Training
from dreambooth_trainer.training.lr_schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.8535534, 0.5, 0.1464466, 0]),
    ],
)
def test_courses(course: str, expected: list[float]) -> None:
    training = Training.model_validate({"steps": 8, "warmupSteps": 4, "lrScheduler": course})
    assert [learning_rate_factor(step, training) for step in range(9)] == pytest.approx(expected)


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 50), st.integers(0, 60))
def test_every_step_learns_and_none_beyond_the_peak(course: str, steps: int, warmup: int) -> None:
    training = Training.model_validate({"steps": steps, "warmupSteps": warmup, "lrScheduler": course})
    assert all(0 < learning_rate_factor(step, training) <= 1 for step in range(steps))
