"""Generates pictures of the manifest's prompts with the same seeds before and after training, and a contact sheet of
them."""

from collections.abc import Callable, Sequence

from PIL.Image import Image

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.evaluation.contact_sheet import Row, contact_sheet
from dreambooth_trainer.evaluation.pictures import BATCH, Comparison, sampler_of
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.monitoring.progress import RunningPhase
from dreambooth_trainer.process.storage import atomic_folder
from dreambooth_trainer.run import Run


class Sampled(JsonModel):
    """Result of the phase."""

    prompts: list[Comparison]
    sheet: str | None
    """The contact sheet's path relative to the folder of the run; None without prompts."""


def sample(run: Run, load_trained: Callable[[], ModelFamily]) -> Sampled:
    """Generates the pictures and writes `samples/`. Without prompts, no model is loaded."""
    samples = run.config.samples
    prompts = [run.fill(prompt) for prompt in samples.prompts]
    wanted = [(prompt, seed) for prompt in prompts for seed in range(samples.per_prompt)]
    models: dict[str, Callable[[], ModelFamily]] = {"before": lambda: run.model, "after": load_trained}
    with run.progress.phase("sample", total=len(models) * len(wanted), unit="pictures") as phase:
        images = {name: _generate(run, phase, load(), wanted) if wanted else [] for name, load in models.items()}
        return _write(run, prompts, images)


def _generate(run: Run, phase: RunningPhase, model: ModelFamily, wanted: Sequence[tuple[str, int]]) -> list[Image]:
    """The pictures of prompts and seeds. Nothing refers to the model after the return, so that it can be freed."""
    images: list[Image] = []
    for start in range(0, len(wanted), BATCH):
        run.stop.check()
        prompts, seeds = zip(*wanted[start : start + BATCH], strict=True)
        images += model.generate(prompts, seeds, sampler_of(run.config.samples), run.resolution).images
        phase.advance(len(prompts))
    return images


def _write(run: Run, prompts: list[str], images: dict[str, list[Image]]) -> Sampled:
    count, folder_name = run.config.samples.per_prompt, run.folder.samples.name
    written, rows = [], []
    with atomic_folder(run.folder.samples) as folder:
        for row, prompt in enumerate(prompts):
            paths: dict[str, list[str]] = {}
            for name, pictures in images.items():
                mine = pictures[row * count : (row + 1) * count]
                names = [f"{row:02d}-{name}-{number:02d}.png" for number in range(len(mine))]
                for file, picture in zip(names, mine, strict=True):
                    picture.save(folder / file)
                paths[name] = [f"{folder_name}/{file}" for file in names]
            written.append(Comparison(prompt=prompt, **paths))
            rows.append(Row(prompt, tuple(pictures[row * count : (row + 1) * count] for pictures in images.values())))
        if rows:
            contact_sheet(rows, tuple(images)).save(folder / "sheet.png")
    return Sampled(prompts=written, sheet=f"{folder_name}/sheet.png" if rows else None)
