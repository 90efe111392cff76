"""Generates the pictures of the phases `sample` and `evaluate`, which the processes share out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from PIL.Image import Image

from dreambooth_trainer.evaluation.pictures import BATCH, sampler_of
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.run import Run

Made = TypeVar("Made")


def generate_together(
    run: Run,
    phase: RunningPhase,
    model: ModelFamily,
    wanted: Sequence[tuple[str, int]],
    make: Callable[[Sequence[Image]], Sequence[Made]],
) -> Iterator[Made]:
    """What `make` makes of each picture, in their order, in every process. All processes must call it.

    The batches don't depend on the number of processes, so the pictures don't either.

    Args:
        run: the run.
        phase: the running phase.
        model: what generates the pictures.
        wanted: prompt and seed of each picture.
        make: makes something of each picture of a batch, in the process that generated them; it must be picklable.

    Raises:
        Interrupted: a process must stop.
    """
    distributed = run.distributed
    batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
    for start in range(0, len(batches), distributed.size):
        together = batches[start : start + distributed.size]
        made: Sequence[Made] = []
        if distributed.rank < len(together):
            prompts, seeds = zip(*together[distributed.rank], strict=True)
            made = make(model.generate(prompts, seeds, sampler_of(run.config.samples), run.resolution).images)
        gathered = distributed.gather((made, run.stop.requested))
        for of_one, _ in gathered:
            yield from of_one
        phase.advance(sum(map(len, together)))
        if any(stopping for _, stopping in gathered):
            # Else a process that has got no signal would wait for the others.
            run.stop.request()
            run.stop.check()
