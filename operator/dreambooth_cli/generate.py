"""`dreambooth generate`: new pictures from a finished run."""

import re
from pathlib import Path
from typing import Annotated

import typer

from dreambooth_api.contradictions import stray_placeholders
from dreambooth_api.failures import InvalidConfig, Problem, StorageUnavailable, classify
from dreambooth_api.files import expanded
from dreambooth_api.training import Scheduler
from dreambooth_cli.output import complain, fail, say
from dreambooth_trainer.process.storage import require_writable
from dreambooth_trainer.run import RunFolder

AS_THE_SAMPLES = "as the run's samples"
SMALLEST, LARGEST = 64, 2048


def size_of(text: str) -> tuple[int, int] | None:
    """Width and height, such as 768x512; of a square, one number is enough. None for any other text."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    sides = [int(side or found[1]) for side in found.groups()] if found else []
    return (sides[0], sides[1]) if sides and all(SMALLEST <= side <= LARGEST for side in sides) else None


def _warn(warning: str) -> None:
    complain(f"warning: {warning}")


def generate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a finished run.", show_default=False)],
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT",
            help='What to show, for example "a {identifier} {class} wearing sunglasses".',
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of pictures.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first picture; the next ones count on.")] = 0,
    negative_prompt: Annotated[str, typer.Option(metavar="TEXT", help="What not to show.", show_default=False)] = "",
    scheduler: Annotated[Scheduler | None, typer.Option(help="How to denoise.", show_default=AS_THE_SAMPLES)] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Denoising steps.", show_default=AS_THE_SAMPLES)
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(min=1, max=50, help="How closely to follow the prompt.", show_default=AS_THE_SAMPLES)
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="A side of a square, or WIDTHxHEIGHT.",
            show_default="the training resolution",
        ),
    ] = None,
    adapter_scale: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10,
            help="With method lora, share of what was learned: 0 generates as the base model does.",
            show_default="1",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=expanded,
            metavar="FOLDER",
            help="Where to put them.",
            show_default="DIR/generated",
        ),
    ] = None,
) -> None:
    """Generate new pictures from a finished run.

    {identifier} and {class} in the prompts stand for those of the run. Each picture is written as soon as it is complete.

    Its settings are in the picture, and in a JSON file with the same name. No picture replaces another.
    """
    output = output or folder / "generated"
    _check(folder, prompt, negative_prompt, size, output)
    # Torch takes seconds to import; a wrong folder is reported before.
    from dreambooth_trainer.generate import Wish
    from dreambooth_trainer.generate import generate as generated

    wish = Wish(
        prompt=prompt,
        count=count,
        seed=seed,
        negative_prompt=negative_prompt,
        scheduler=scheduler,
        steps=steps,
        guidance_scale=guidance_scale,
        size=size_of(size) if size else None,
        adapter_scale=adapter_scale,
    )
    try:
        for picture in generated(folder, wish, output, _warn):
            say(picture)
    except BaseException as error:
        failure = classify(error)
        if failure is None:
            raise
        fail(failure, failure.exit_code)


def _check(folder: Path, prompt: str, negative_prompt: str, size: str | None, output: Path) -> None:
    """Ends the command if its arguments are wrong, before anything is loaded."""
    if not RunFolder(folder).complete.is_file():
        reason = "is no finished run (it has no COMPLETE)" if folder.is_dir() else "does not exist"
        remedy = "Give the output folder of a run that has ended."
        fail(f"DIR: {str(folder)!r} {reason}. {remedy}", InvalidConfig.exit_code)
    problems = [*stray_placeholders("PROMPT", prompt), *stray_placeholders("--negative-prompt", negative_prompt)]
    if size and not size_of(size):
        remedy = f"Give {SMALLEST} to {LARGEST} pixels for a square, or WIDTHxHEIGHT, such as 768x512"
        problems.append(Problem("--size", size, "is no size", remedy))
    if problems:
        fail("\n".join(map(str, problems)), InvalidConfig.exit_code)
    try:
        # The folder itself is created with the first picture.
        require_writable(next(place for place in (output, *output.absolute().parents) if place.exists()))
    except StorageUnavailable as error:
        fail(f"--output: {error}", error.exit_code)
