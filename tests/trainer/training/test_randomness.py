from collections import Counter
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_trainer.training.randomness import StepRandomness, balanced_indices, shuffled_indices, step_randomness

CPU = torch.device("cpu")
SHAPE = torch.Size((4, 8, 8))


def randomness(
    seed: int = 0, step: int = 0, batch: int = 4, class_images: int = 7, rows: range | None = None
) -> StepRandomness:
    return step_randomness(
        seed,
        step,
        batch=batch,
        rows=rows or range(batch),
        first=step * batch + (rows.start if rows else 0),
        photos=[5],
        class_images=class_images,
        shape_CHW=SHAPE,
        device=CPU,
    )


def equal(one: StepRandomness, other: StepRandomness) -> bool:
    return all(torch.equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(StepRandomness))


def test_shapes() -> None:
    both, alone = randomness(), randomness(class_images=0)
    assert (both.noise_NCHW.shape, both.posterior_GCHW.shape) == ((8, 4, 8, 8), (4, 4, 8, 8))
    assert (len(both.subject_G), len(both.class_G), len(both.uniform_N)) == (4, 4, 8)
    assert (len(alone.subject_G), len(alone.class_G), len(alone.uniform_N), len(alone.noise_NCHW)) == (4, 0, 4, 4)


def test_the_randomness_depends_on_seed_and_step_alone() -> None:
    first = randomness(seed=3, step=5)
    torch.manual_seed(99)
    torch.rand(7)
    assert equal(randomness(seed=3, step=5), first)
    for other in (randomness(seed=3, step=6), randomness(seed=4, step=5), randomness(seed=5, step=3)):
        assert not torch.equal(other.noise_NCHW, first.noise_NCHW)
        assert not torch.equal(other.uniform_N, first.uniform_N)


def test_the_two_noises_are_not_the_same() -> None:
    one = randomness()
    assert not torch.equal(one.noise_NCHW[:4], one.posterior_GCHW)


def test_rows_have_different_noise() -> None:
    one = randomness()
    rows = [*one.noise_NCHW, *one.posterior_GCHW]
    assert len({row.sum().item() for row in rows}) == len(rows)


@pytest.mark.parametrize("class_images", [0, 7])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_shares_of_the_processes_are_the_rows_of_one_process(parts: int, class_images: int) -> None:
    whole = randomness(class_images=class_images)
    size = 4 // parts
    shares = [randomness(class_images=class_images, rows=range(start, start + size)) for start in range(0, 4, size)]
    for field in fields(StepRandomness):
        # The rows of the subject come before those of the class.
        halves = len(getattr(whole, field.name)) // 4 or 1
        of_shares = [getattr(share, field.name).chunk(halves) for share in shares]
        together = torch.cat([torch.cat(part) for part in zip(*of_shares, strict=True)])
        assert torch.equal(together, getattr(whole, field.name))


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.integers(1, 16))
def test_timesteps_are_stratified(seed: int, step: int, batch: int) -> None:
    uniform = randomness(seed, step, batch).uniform_N
    assert ((uniform >= 0) & (uniform < 1)).all()
    for half in (uniform[:batch], uniform[batch:]):
        gaps = half.sort().values.diff()
        assert torch.allclose(gaps, torch.full_like(gaps, 1 / batch), atol=1e-5)


def test_offsets_of_timesteps_are_uniform() -> None:
    offsets = torch.stack([randomness(step=step, batch=1).uniform_N for step in range(2000)])
    assert offsets.mean(0) == pytest.approx(0.5, abs=0.03)
    assert offsets.std(0) == pytest.approx(12**-0.5, abs=0.02)
    assert torch.corrcoef(offsets.T)[0, 1].abs() < 0.08


def test_noise_is_standard_normal() -> None:
    noise = randomness(batch=64).noise_NCHW
    assert noise.mean().abs() < 0.02 and noise.std() == pytest.approx(1, abs=0.02)


@given(st.integers(0, 2**31 - 1), st.integers(1, 20), st.integers(1, 5))
def test_every_image_is_seen_equally_often(seed: int, size: int, epochs: int) -> None:
    assert Counter(shuffled_indices(seed, 0, size * epochs, size, CPU).tolist()) == dict.fromkeys(range(size), epochs)


@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_indices_do_not_depend_on_how_they_are_taken(seed: int, start: int, count: int, size: int) -> None:
    endless = shuffled_indices(seed, 0, start + count, size, CPU)
    assert torch.equal(shuffled_indices(seed, start, count, size, CPU), endless[start:])


def test_epochs_and_seeds_are_shuffled_otherwise() -> None:
    orders = {
        tuple(shuffled_indices(seed, epoch * 50, 50, 50, CPU).tolist()) for seed in range(4) for epoch in range(4)
    }
    assert len(orders) == 16


def test_photos_and_class_images_are_shuffled_apart() -> None:
    one = step_randomness(
        0, 0, batch=20, rows=range(20), first=0, photos=[20], class_images=20, shape_CHW=SHAPE, device=CPU
    )
    assert not torch.equal(one.subject_G, one.class_G)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 50), st.integers(1, 30))
def test_subjects_take_turns(sizes: list[int], start: int, count: int) -> None:
    whole = balanced_indices(3, 0, start + count, sizes, CPU)
    assert torch.equal(balanced_indices(3, start, count, sizes, CPU), whole[start:])
    bounds = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
    for number, size in enumerate(sizes):
        mine = whole[number :: len(sizes)]
        assert ((mine >= bounds[number]) & (mine < bounds[number + 1])).all()
        seen = mine[: len(mine) // size * size].bincount(minlength=bounds[-1])[bounds[number] : bounds[number + 1]]
        assert len(set(seen.tolist())) == 1, "each photo of a subject is seen equally often"


def test_a_single_subject_has_the_order_of_its_photos() -> None:
    assert torch.equal(balanced_indices(5, 7, 20, [6], CPU), shuffled_indices(5, 7, 20, 6, CPU))
