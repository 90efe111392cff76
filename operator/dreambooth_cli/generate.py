"""`dreambooth generate`: new pictures from a run."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from dreambooth_api.failures import InvalidConfig, Problem, StorageUnavailable
from dreambooth_api.files import expanded
from dreambooth_api.schedulers import Scheduler
from dreambooth_cli.cluster.generate import generate_in_cluster
from dreambooth_cli.cluster.options import Context
from dreambooth_cli.output import fail, say

if TYPE_CHECKING:
    from dreambooth_api.scene import Scene

AS_THE_SAMPLES = "as the run's samples"

OPTIONS = {
    "--run": "RUN",
    "spec.negativePrompt": "--negative-prompt",
    "spec.perPrompt": "--count",
    "spec.seed": "--seed",
    "spec.sampler.scheduler": "--scheduler",
    "spec.sampler.steps": "--steps",
    "spec.sampler.guidanceScale": "--guidance-scale",
    "spec.size": "--size",
    "spec.size.width": "--size",
    "spec.size.height": "--size",
    "spec.adapterScale": "--adapter-scale",
    "spec.step": "--step",
}
"""The options of this command by the fields of a scene."""


def size_of(text: str) -> dict[str, int] | None:
    """Width and height, such as 768x512; of a square, one number is enough. None for any other text."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    return {"width": int(found[1]), "height": int(found[2] or found[1])} if found else None


def generate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Output folder of a run, or name of a DreamBoothJob in a cluster.",
            show_default=False,
        ),
    ],
    prompts: Annotated[
        list[str],
        typer.Argument(
            metavar="PROMPT...",
            help='What to show, for example "a {identifier} {class} wearing sunglasses".',
            show_default=False,
        ),
    ],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of pictures of each prompt.")] = 8,
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
    step: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Step of the training whose weights generate.",
            show_default="the finished model, or the newest checkpoint",
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
            show_default="RUN/generated; from a cluster: runs/NAME/scenes/...",
        ),
    ] = None,
    context: Context = None,
    namespace: Annotated[
        str | None, typer.Option(metavar="NAME", help="Namespace in a cluster.", show_default="that of the context")
    ] = None,
) -> None:
    """Generate new pictures from a run, also before it has finished.

    {identifier} and {class} in the prompts stand for those of the run. Each picture is written as soon as it is complete.

    Its settings are in the picture, and in a JSON file with the same name. No picture replaces another. With the name of a
    DreamBoothJob, a DreamBoothScene generates them in the cluster, and they are copied to this machine.
    """
    sampler = {"scheduler": scheduler, "steps": steps, "guidanceScale": guidance_scale}
    scene = _scene_or_exit(
        {
            "prompts": prompts,
            "negativePrompt": negative_prompt,
            "perPrompt": count,
            "seed": seed,
            "sampler": {name: value for name, value in sampler.items() if value is not None},
            "size": size,
            "adapterScale": adapter_scale,
            "step": step,
        }
    )
    if names_a_job(run):
        generate_in_cluster(run, scene, output, context, namespace)
    folder = expanded(run)
    output = output or folder / "generated"
    _check(folder, output)
    # Torch takes seconds to import; a wrong folder is reported before.
    from dreambooth_trainer.scene import run_scene

    console = Console(stderr=True, highlight=False)
    names = _names_of(prompts)
    raise typer.Exit(run_scene(scene, folder, output, name=None, written=say, field_names=names, console=console))


def names_a_job(run: str) -> bool:
    """Whether the argument is the name of a DreamBoothJob, not a folder: there is none of this name, and it has the form."""
    from dreambooth_api.job import NAME_LENGTH
    from dreambooth_api.workload import NAME_PATTERN

    if expanded(run).exists():
        return False
    prefix, _, name = run.rpartition("/")
    return prefix in ("", "job") and len(name) <= NAME_LENGTH and re.fullmatch(NAME_PATTERN, name) is not None


def _names_of(prompts: Sequence[str]) -> dict[str, str]:
    """What the fields of a scene are called here."""
    places = {"spec.prompts[0]": "PROMPT"}
    if len(prompts) > 1:
        places = {f"spec.prompts[{number}]": f"PROMPT {number + 1}" for number in range(len(prompts))}
    return OPTIONS | places


def _scene_or_exit(fields: dict[str, Any]) -> "Scene":
    """The scene of the arguments; ends the command if they are wrong, before anything is loaded."""
    from dreambooth_api.scene import check_scene

    size = fields["size"]
    sides = size_of(size) if size else None
    remedy = "Give the side of a square, or WIDTHxHEIGHT, as 768x512"
    problems = [] if sides or not size else [Problem("--size", size, "is no size", remedy)]
    scene, invalid = check_scene({**fields, "size": sides})
    names = _names_of(fields["prompts"])
    problems += [dataclasses.replace(one, field=names.get(one.field, one.field)) for one in invalid]
    if scene is None or problems:
        fail("\n".join(map(str, problems)), InvalidConfig.exit_code)
    return scene


def _check(folder: Path, output: Path) -> None:
    """Ends the command if its folders are wrong, before anything is loaded."""
    from dreambooth_trainer.process.storage import require_writable
    from dreambooth_trainer.run import RunFolder

    run = RunFolder(folder)
    if not run.complete.is_file() and not run.settings.is_file():
        reason = "is no folder of a run" if folder.is_dir() else "does not exist"
        fail(f"RUN: {str(folder)!r} {reason}. Give the output folder of a run.", InvalidConfig.exit_code)
    try:
        # The folder itself is created with the first picture.
        require_writable(next(place for place in (output, *output.absolute().parents) if place.exists()))
    except StorageUnavailable as error:
        fail(f"--output: {error}", error.exit_code)
