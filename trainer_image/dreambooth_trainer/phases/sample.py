"""Generates pictures of the manifest's prompts with the same seeds before and after training, and a contact sheet of
them."""

from collections.abc import Callable

from PIL.Image import Image

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.evaluation.contact_sheet import Row, contact_sheet
from dreambooth_trainer.evaluation.pictures import Comparison
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.phases.generation import generate_together
from dreambooth_trainer.process.storage import atomic_folder
from dreambooth_trainer.run import Run


class Sampled(JsonModel):
    """Result of the phase."""

    prompts: list[Comparison]
    sheet: str | None
    """The contact sheet's path relative to the folder of the run; None without prompts."""


def sample(run: Run, load_trained: Callable[[], ModelFamily]) -> Sampled:
    """Generates the pictures; the main process writes `samples/`. Without prompts, no model is loaded."""
    samples = run.config.samples
    prompts = [run.fill(prompt) for prompt in samples.prompts]
    wanted = [(prompt, seed) for prompt in prompts for seed in range(samples.per_prompt)]
    models: dict[str, Callable[[], ModelFamily]] = {"before": lambda: run.model, "after": load_trained}
    with run.progress.phase("sample", total=len(models) * len(wanted), unit="pictures") as phase:
        # No variable refers to the model, so that it can be freed before the next one is loaded.
        images = {
            name: list(generate_together(run, phase, load(), wanted, list)) if wanted else []
            for name, load in models.items()
        }
        return _write(run, prompts, images)


def _write(run: Run, prompts: list[str], images: dict[str, list[Image]]) -> Sampled:
    count, folder_name = run.config.samples.per_prompt, run.folder.samples.name
    files: dict[str, Image] = {}
    comparisons, rows = [], []
    for row, prompt in enumerate(prompts):
        paths: dict[str, list[str]] = {}
        mine = {name: pictures[row * count : (row + 1) * count] for name, pictures in images.items()}
        for name, pictures in mine.items():
            named = {f"{row:02d}-{name}-{number:02d}.png": picture for number, picture in enumerate(pictures)}
            files |= named
            paths[name] = [f"{folder_name}/{file}" for file in named]
        comparisons.append(Comparison(prompt=prompt, **paths))
        rows.append(Row(prompt, tuple(mine.values())))
    if rows:
        files["sheet.png"] = contact_sheet(rows, tuple(images))
    if run.distributed.is_main:
        with atomic_folder(run.folder.samples) as folder:
            for file, picture in files.items():
                picture.save(folder / file)
    return Sampled(prompts=comparisons, sheet=f"{folder_name}/sheet.png" if rows else None)
