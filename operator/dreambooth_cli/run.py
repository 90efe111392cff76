"""`dreambooth run`: the whole job on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic.alias_generators import to_camel

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.files import expanded
from dreambooth_cli.output import fail
from dreambooth_cli.validate import File, read_or_exit

if TYPE_CHECKING:
    from dreambooth_api.training import TrainConfig


def run(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            parser=expanded,
            metavar="DIR",
            help="Folder of the results.",
            show_default="runs/<name of the job>",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="DIR",
            help="Folder of class images that jobs share.",
            show_default="~/.cache/dreambooth",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve /progress, /metrics and /healthz there; 0: nowhere.")
    ] = 0,
) -> None:
    """Train a model on the photos of a manifest, on this machine.

    Leaves the model, pictures of the subject and a report in the output folder. After an interruption, the same command
    goes on where it stopped, also with more training.steps in the manifest.
    """
    manifest = read_or_exit(file)
    if problems := list(out_of_reach(manifest.config)):
        fail("\n".join(map(str, problems)), InvalidConfig.exit_code)

    # Torch takes seconds to import; a wrong manifest is reported before.
    from dreambooth_trainer.job import run_job
    from dreambooth_trainer.run import default_cache

    folder = output or Path("runs") / manifest.job.metadata.name
    shared = cache or default_cache() or folder / ".cache"
    raise typer.Exit(run_job(manifest.config, folder, cache=shared, port=port or None))


def out_of_reach(config: "TrainConfig") -> Iterator[Problem]:
    """What only a cluster has."""
    for field, images in config.pictures.items():
        if images.path is None:
            source = next(name for name in ("config_map", "persistent_volume_claim", "image") if getattr(images, name))
            remedy = (
                f"Give {field}.path, or append the ConfigMap to the file (kubectl create configmap NAME "
                "--from-file=FOLDER --dry-run=client -o yaml)"
            )
            yield Problem(f"spec.{field}", to_camel(source), "is only at hand in the cluster", remedy)
    for field, source in {"model.source": config.model.source, "evaluation.encoder": config.evaluation.encoder}.items():
        if source.startswith("pvc://"):
            yield Problem(f"spec.{field}", source, "is only at hand in the cluster", "Give the path of a copy")
    if config.model.token_secret:
        remedy = "Put the token into the environment variable HF_TOKEN and remove this field"
        yield Problem(
            "spec.model.tokenSecret", config.model.token_secret.name, "is only at hand in the cluster", remedy
        )
