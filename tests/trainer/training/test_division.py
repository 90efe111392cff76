from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_api.training import Training
from dreambooth_trainer.training.division import divide


def training(batch: int, accumulated: int = 1) -> Training:
    return Training(batch_size=batch, gradient_accumulation_steps=accumulated)


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 16))
def test_the_processes_divide_the_batch_among_themselves(batch: int, accumulated: int, size: int) -> None:
    shares = [divide(training(batch, accumulated), rank=rank, size=size) for rank in range(size)]
    assert list(chain.from_iterable(share.rows for share in shares)) == list(range(shares[0].batch))
    for share in shares:
        assert list(chain.from_iterable(share.parts)) == list(share.rows)
        assert {len(part) for part in share.parts} == {share.at_once} and share.at_once <= batch
    assert 0 <= shares[0].batch - batch * accumulated < size


@pytest.mark.parametrize(
    ("batch", "accumulated", "size", "divided"),
    [
        (4, 1, 1, (4, 4, 1)),
        (4, 1, 2, (4, 2, 1)),
        (2, 4, 2, (8, 2, 2)),
        (4, 3, 2, (12, 3, 2)),
        (1, 1, 2, (2, 1, 1)),
    ],
)
def test_more_devices_compute_less_each(batch: int, accumulated: int, size: int, divided: tuple[int, int, int]) -> None:
    share = divide(training(batch, accumulated), rank=0, size=size)
    assert (share.batch, share.at_once, len(share.parts)) == divided
    one_by_one = divide(training(batch, accumulated), rank=0, size=size, one_size=False)
    assert (one_by_one.rows, one_by_one.at_once) == (share.rows, 1)
