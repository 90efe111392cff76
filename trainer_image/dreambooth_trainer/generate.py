"""New pictures from a finished run, any time after it. Called by `dreambooth generate`."""

from pathlib import Path

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.prompts import fill
from dreambooth_trainer.evaluation.contact_sheet import Row, contact_sheet
from dreambooth_trainer.evaluation.pictures import BATCH, sampler_of
from dreambooth_trainer.job import quiet_libraries
from dreambooth_trainer.phases.export import exported_model
from dreambooth_trainer.result import read_result
from dreambooth_trainer.run import RunFolder


def generate(
    folder: Path, prompt: str, count: int, seed: int, steps: int | None, guidance_scale: float | None, output: Path
) -> list[Path]:
    """Draws a prompt with the model of a finished run.

    Args:
        folder: folder of the run.
        prompt: what to draw; `{identifier}` and `{class}` are filled in.
        count: number of pictures.
        seed: seed of the first picture; the others follow.
        steps: denoising steps; None for those of the run's samples.
        guidance_scale: None for that of the run's samples.
        output: folder of the pictures.

    Returns:
        The pictures, and last a contact sheet of them.

    Raises:
        InvalidConfig: the folder holds no finished run.
        ModelUnavailable: the exported model can't be loaded.
    """
    quiet_libraries()
    from dreambooth_trainer.models import load
    from dreambooth_trainer.process.distributed import World

    run = RunFolder(folder)
    if not run.complete.exists():
        message, remedy = "holds no finished run", "Give the output folder of a `dreambooth run` that has ended"
        raise InvalidConfig([Problem("DIR", str(folder), message, remedy)])
    result = read_result(run.result)
    config = result.config
    sampler = sampler_of(config.samples).model_copy(
        update={
            name: value for name, value in (("steps", steps), ("guidance_scale", guidance_scale)) if value is not None
        }
    )
    model = load(exported_model(run, config), World(), config.training.mixed_precision)
    size = config.training.resolution or model.resolution
    text = fill(prompt, identifier=result.identifier, class_=result.class_)
    output.mkdir(parents=True, exist_ok=True)
    images = []
    for start in range(0, count, BATCH):
        seeds = range(seed + start, seed + min(start + BATCH, count))
        images += model.draw([text] * len(seeds), seeds, sampler, size).images
    paths = [output / f"{_slug(text)}-{seed + number:04d}.png" for number in range(count)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    sheet = output / f"{_slug(text)}-sheet.png"
    contact_sheet([Row(text, [images])], per_column=8).save(sheet)
    return [*paths, sheet]


def _slug(text: str) -> str:
    """A text as part of a file name."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())[:60]
