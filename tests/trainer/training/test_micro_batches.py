"""Tests of dreambooth_trainer.training.micro_batches."""

from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dreambooth_api.training import Training
from dreambooth_trainer.models.base import LatentMoments
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import divide
from dreambooth_trainer.training.micro_batches import MicroBatch, micro_batches, place_in_order
from dreambooth_trainer.training.randomness import StepRandomness

several = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def of_size(photos: int, class_images: int, height: int, width: int) -> Dataset:
    latents = torch.zeros(photos, 4, height, width)
    return Dataset(
        photos=LatentMoments(latents, latents),
        class_latents=torch.zeros(class_images, 4, height, width),
        class_prompt_K=torch.ones(class_images, dtype=torch.long),
        tokens={},
        prompts={},
        images={},
    )


DATASETS = [of_size(3, 6, 8, 8), of_size(1, 2, 6, 10), of_size(2, 4, 10, 6)]


def taken(datasets: list[Dataset], steps: int, batch: int, processes: int) -> list[MicroBatch]:
    """The micro-batches of some steps, of all processes."""
    training = Training(batch_size=batch)
    divisions = [divide(training, rank=rank, size=processes, one_size=len(datasets) == 1) for rank in range(processes)]
    return [
        one
        for step in range(steps)
        for division in divisions
        for one in micro_batches(datasets, seed=3, step=step, division=division)
    ]


@given(several, st.integers(0, 1000), st.integers(1, 4))
def test_each_epoch_takes_each_photo_of_each_dataset(photos: list[int], seed: int, epochs: int) -> None:
    places = [place_in_order([[one] for one in photos], seed, number) for number in range(sum(photos) * epochs)]
    assert Counter(chosen for chosen, _ in places) == {number: count * epochs for number, count in enumerate(photos)}
    for number in range(len(photos)):
        assert [before for chosen, before in places if chosen == number] == list(range(photos[number] * epochs))


def test_the_order_of_the_datasets_is_random() -> None:
    orders = {
        tuple(place_in_order([[3], [2], [1]], seed, 6 * epoch + place)[0] for place in range(6))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) > 15


def test_photos_and_class_images_of_all_sizes_are_seen_equally_often() -> None:
    batches = taken(DATASETS, steps=12, batch=3, processes=1)
    for data in DATASETS:
        of_data = [one.randomness for one in batches if one.dataset is data]
        photos = Counter(int(index) for one in of_data for index in one.subject_G)
        assert photos == dict.fromkeys(range(len(data.photos.mean_BCHW)), 6)
        class_images = Counter(int(index) for one in of_data for index in one.class_G)
        assert class_images == dict.fromkeys(range(len(data.class_latents)), 3)


def same(one: MicroBatch, other: MicroBatch) -> bool:
    names = [field.name for field in fields(StepRandomness)]
    return one.dataset is other.dataset and all(
        torch.equal(getattr(one.randomness, name), getattr(other.randomness, name)) for name in names
    )


def test_any_number_of_processes_takes_the_same_rows() -> None:
    alone, shared = (taken(DATASETS, steps=5, batch=4, processes=processes) for processes in (1, 2))
    assert len(alone) == 20 and all(map(same, alone, shared))


def test_a_process_computes_as_often_as_the_others() -> None:
    divisions = [divide(Training(batch_size=6), rank=rank, size=3, one_size=False) for rank in range(3)]
    assert [len(micro_batches(DATASETS, 0, 0, division)) for division in divisions] == [2, 2, 2]


def test_rows_of_a_step_are_stratified_over_all_sizes() -> None:
    uniform: list[Tensor] = [one.randomness.uniform_N for one in taken(DATASETS, steps=1, batch=8, processes=1)]
    for half in torch.stack(uniform).T:
        assert torch.allclose(half.sort().values.diff(), torch.tensor(1 / 8), atol=1e-5)


def test_one_size_has_the_rows_of_the_whole_step() -> None:
    data = of_size(5, 7, 8, 8)
    batches = taken([data], steps=3, batch=4, processes=2)
    for step in range(3):
        whole, shares = data.randomness(3, step, 4), batches[2 * step : 2 * step + 2]
        assert torch.equal(torch.cat([share.randomness.subject_G for share in shares]), whole.subject_G)
        assert torch.equal(torch.cat([share.randomness.class_G for share in shares]), whole.class_G)
        assert torch.equal(torch.cat([share.randomness.posterior_GCHW for share in shares]), whole.posterior_GCHW)


def of_subjects(*photos: int, width: int) -> Dataset:
    return replace(of_size(sum(photos), 4, 8, width), photos_of_subjects=photos)


@pytest.mark.parametrize("datasets", [[(3, 5)], [(3, 1), (0, 2), (1, 2)]])
def test_each_subject_has_the_same_share_and_each_of_its_photos_too(datasets: list[tuple[int, int]]) -> None:
    several = [of_subjects(*photos, width=8 + 2 * number) for number, photos in enumerate(datasets)]
    first, second = (sum(photos[subject] for photos in datasets) for subject in range(2))
    seen: Counter[tuple[int, int]] = Counter()
    for one in taken(several, steps=2 * first * second, batch=1, processes=1):
        number = next(number for number, data in enumerate(several) if data is one.dataset)
        seen[number, int(one.randomness.subject_G)] += 1
    for number, photos in enumerate(datasets):
        for photo in range(sum(photos)):
            assert seen[number, photo] == (second if photo < photos[0] else first)
