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

    @property
    def parts(self) -> list[range]:
        """The rows that it computes at once, counted from its first one."""
        return [range(start, start + self.at_once) for start in range(0, len(self.rows), self.at_once)]


def divide(training: Training, *, rank: int, size: int) -> Division:
    """The share of a process.

    An optimizer step has `batchSize * gradientAccumulationSteps` photos, rounded up to a multiple of the number of
    processes: each has at least one. A process computes as many photos at once as divide its share, at most
    `batchSize`.
    """
    share = -(-training.batch_size * training.gradient_accumulation_steps // size)
    at_once = max(count for count in range(1, min(share, training.batch_size) + 1) if share % count == 0)
    return Division(share * size, range(rank * share, (rank + 1) * share), at_once)
