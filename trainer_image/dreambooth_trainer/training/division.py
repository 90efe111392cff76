"""How the processes divide the batch of an optimizer step."""

from dataclasses import dataclass

from dreambooth_api.training import Training


@dataclass(frozen=True)
class Division:
    """The share of one process."""

    batch: int
    """Photos in an optimizer step, over all processes."""
    rows: range
    """Rows of the batch that this process computes."""
    at_once: int
    """Photos that it computes at once."""
    one_size: bool = True
    """Whether all pictures have one size."""

    @property
    def parts(self) -> list[range]:
        """The rows of the batch that it computes at once, one part after the other."""
        return [self.rows[start : start + self.at_once] for start in range(0, len(self.rows), self.at_once)]


def divide(training: Training, *, rank: int, size: int, one_size: bool = True) -> Division:
    """The share of a process.

    An optimizer step has `batchSize * gradientAccumulationSteps` photos, rounded up to a multiple of the number of
    processes: each has at least one. A process computes as many photos at once as divide its share, at most
    `batchSize`. Pictures of several sizes are computed one by one, so that all processes compute equally often, as the
    exchange of sharded weights requires, whatever the sizes of their photos are.

    Args:
        training: the settings of the training.
        rank: number of the process.
        size: number of processes.
        one_size: whether all pictures have one size.
    """
    share = -(-training.batch_size * training.gradient_accumulation_steps // size)
    most = min(share, training.batch_size) if one_size else 1
    at_once = max(count for count in range(1, most + 1) if share % count == 0)
    return Division(share * size, range(rank * share, (rank + 1) * share), at_once, one_size)
