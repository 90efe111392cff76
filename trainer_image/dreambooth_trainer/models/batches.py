"""Batches that the device's memory has room for."""

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

Result = TypeVar("Result")


def with_what_fits(work: Callable[[int], Result], at_once: int) -> tuple[Result, int]:
    """The result of work, and how many rows were computed at once: half as many, and so on, if the memory is too small.

    Args:
        work: computes all rows, so many of them at once.
        at_once: the number to begin with.

    Raises:
        RuntimeError: what `work` raises, if it isn't for want of memory, or for one row.
    """
    while True:
        try:
            return work(at_once), at_once
        except RuntimeError as error:
            if at_once == 1 or not should_reduce_batch_size(error):
                raise
        # Not in the handler of the exception, which refers to the tensors of the failed call.
        at_once //= 2
        clear_device_cache(garbage_collection=True)
