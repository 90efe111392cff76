"""`dreambooth generate`: new pictures from a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from dreambooth_api.contradictions import stray_placeholders
from dreambooth_api.failures import InvalidConfig, TrainerFailure
from dreambooth_trainer.run import RunFolder


def generate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Output folder of a finished run.", show_default=False)],
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT",
            help='What to draw, for example "a {identifier} {class} wearing sunglasses".',
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of pictures.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first picture; the next ones count on.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Denoising steps.", show_default="as the run's samples")
    ] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option(min=1, max=50, help="How closely to follow the prompt.", show_default="as the run's samples"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Where to put them.", show_default="DIR/generated"),
    ] = None,
) -> None:
    """Draw new pictures from a finished run.

    {identifier} and {class} in the prompt stand for the run's own.
    """
    if not RunFolder(folder).complete.is_file():
        reason = "is no finished run (it has no COMPLETE)" if folder.is_dir() else "does not exist"
        typer.echo(f"DIR: {str(folder)!r} {reason}. Give the output folder of a run that has ended.", err=True)
        raise typer.Exit(InvalidConfig.exit_code)

    if problems := list(stray_placeholders("PROMPT", prompt)):
        typer.echo("\n".join(map(str, problems)), err=True)
        raise typer.Exit(InvalidConfig.exit_code)

    # Torch takes seconds to import; a wrong folder is told before.
    from dreambooth_trainer.generate import generate as draw

    try:
        pictures = draw(folder, prompt, count, seed, steps, guidance_scale, output or folder / "generated")
    except TrainerFailure as failure:
        typer.echo(str(failure), err=True)
        raise typer.Exit(failure.exit_code) from None
    for picture in pictures:
        typer.echo(picture)
