"""The micro-batches of an optimizer step: what a process computes at once, from the datasets of one size or of several."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import NamedTuple

import torch

from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import Division
from dreambooth_trainer.training.randomness import StepRandomness, shuffled_indices


class MicroBatch(NamedTuple):
    """Photos and class images of one size, with their random numbers."""

    randomness: StepRandomness
    dataset: Dataset


def micro_batches(datasets: Sequence[Dataset], seed: int, step: int, division: Division) -> list[MicroBatch]:
    """The micro-batches of a process in an optimizer step.

    Args:
        datasets: one for each size of the pictures.
        seed: seed of the run.
        step: number of the step, from 0.
        division: the share of the process. With several datasets, each part is one row.
    """
    photos = [one.photos_of_each for one in datasets]
    batches = []
    for rows in division.parts:
        chosen, first = place_in_order(photos, seed, step * division.batch + rows.start)
        dataset = datasets[chosen]
        batches.append(MicroBatch(dataset.randomness(seed, step, division.batch, rows, first), dataset))
    return batches


def place_in_order(photos: Sequence[Sequence[int]], seed: int, number: int) -> tuple[int, int]:
    """The dataset from which a photo of the training is taken, and its place in the order of this dataset.

    The subjects take turns; see `balanced_indices`, which has this order for each dataset. In an epoch of a subject, as many of
    its photos are taken from each dataset as it has, in a random order of the datasets.

    Args:
        photos: for each dataset, the number of photos of each subject.
        seed: seed of the run.
        number: number of the photo, from 0.
    """
    if len(photos) == 1:
        return 0, number
    subjects = len(photos[0])
    turn, subject = divmod(number, subjects)
    dataset, before = _place_of_subject([one[subject] for one in photos], seed + 2 * subject, turn)
    return dataset, before * subjects + subject


def _place_of_subject(photos: Sequence[int], seed: int, number: int) -> tuple[int, int]:
    """The dataset from which a photo of a subject is taken, and how many of its photos were taken from it before.

    Args:
        photos: number of photos of the subject in each dataset.
        seed: seed of its order.
        number: number of the photo among those of the subject, from 0.
    """
    epoch, place = divmod(number, sum(photos))
    of_photos = list(chain.from_iterable(map(repeat, range(len(photos)), photos)))
    # On the host, which needs the order, and without waiting for a device.
    order_P = shuffled_indices(seed, epoch * len(of_photos), len(of_photos), len(of_photos), torch.device("cpu"))
    order = [of_photos[index] for index in order_P.tolist()]
    return order[place], epoch * photos[order[place]] + order[:place].count(order[place])
