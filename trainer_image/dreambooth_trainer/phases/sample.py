"""Generates pictures of the manifest's prompts with the same seeds before and after training, and a contact sheet of
them."""

from collections.abc import Callable, Sequence

from PIL.Image import Image

from dreambooth_api.progress import JsonModel
from dreambooth_trainer.evaluation.pictures import Comparison
from dreambooth_trainer.models.base import ModelFamily
from dreambooth_trainer.phases.generation import Compared, generate_together, write_comparisons
from dreambooth_trainer.run import Run


class Sampled(JsonModel):
    """Result of the phase."""

    prompts: list[Comparison]
    sheet: str | None
    """The contact sheet's path relative to the folder of the run; None without prompts."""


def sample(run: Run, load_trained: Callable[[], ModelFamily]) -> Sampled:
    """Generates the pictures; the main process writes `samples/`. Without prompts, no model is loaded."""
    samples = run.config.samples
    prompts = run.fill(samples.prompts)
    wanted = [(prompt, seed) for prompt in prompts for seed in range(samples.per_prompt)]
    models: dict[str, Callable[[], ModelFamily]] = {"before": lambda: run.model, "after": load_trained}
    with run.progress.phase("sample", total=len(models) * len(wanted), unit="pictures") as phase:
        # No variable refers to the model, so that it can be freed before the next one is loaded.
        images = {
            name: list(generate_together(run, phase, load(), wanted, list)) if wanted else []
            for name, load in models.items()
        }
        rows = [
            Compared(prompt, *(_of_row(images[name], row, name, samples.per_prompt) for name in models))
            for row, prompt in enumerate(prompts)
        ]
        comparisons = write_comparisons(run, run.folder.samples, rows)
        return Sampled(prompts=comparisons, sheet=f"{run.folder.samples.name}/sheet.png" if rows else None)


def _of_row(pictures: Sequence[Image], row: int, name: str, count: int) -> dict[str, Image]:
    """The pictures of a prompt by the names of their files."""
    mine = pictures[row * count : (row + 1) * count]
    return {f"{row:02d}-{name}-{number:02d}.png": picture for number, picture in enumerate(mine)}
