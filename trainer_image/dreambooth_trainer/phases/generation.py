"""Generates the pictures of the phases `sample` and `evaluate`, which the processes share out, and writes them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL.Image import Image

from dreambooth_trainer.evaluation.contact_sheet import Row, contact_sheet
from dreambooth_trainer.evaluation.pictures import BATCH, Comparison, sampler_of
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.process.storage import atomic_folder
from dreambooth_trainer.run import Run

Made = TypeVar("Made")


@dataclass(frozen=True)
class Compared:
    """Pictures of one prompt with the same seeds, before and after training, by the names of their files."""

    prompt: str
    before: Mapping[str, Image]
    after: Mapping[str, Image]


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
    with model.denoising({prompt for prompt, _ in wanted}):
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


def write_comparisons(run: Run, folder: Path, rows: Sequence[Compared]) -> list[Comparison]:
    """The main process writes the pictures and their contact sheet, `sheet.png`, to a folder in the folder of the run.
    Without pictures there is no sheet."""
    if run.distributed.is_main:
        with atomic_folder(folder) as staging:
            for row in rows:
                for name, image in {**row.before, **row.after}.items():
                    image.save(staging / name)
            if rows:
                shown = [Row(row.prompt, (list(row.before.values()), list(row.after.values()))) for row in rows]
                contact_sheet(shown, ("before", "after")).save(staging / "sheet.png")

    def paths(pictures: Mapping[str, Image]) -> list[str]:
        return [f"{folder.name}/{name}" for name in pictures]

    return [Comparison(prompt=row.prompt, before=paths(row.before), after=paths(row.after)) for row in rows]
