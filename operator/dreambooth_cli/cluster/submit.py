"""`dreambooth submit`: photos of this machine to a DreamBoothJob of a cluster."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.files import expanded
from dreambooth_cli.cluster.change import Set, parsed
from dreambooth_cli.cluster.options import Answer, Context, Namespace, hint, in_cluster, show
from dreambooth_cli.cluster.outcome import exit_with
from dreambooth_cli.cluster.watch import follow
from dreambooth_cli.output import fail, say
from dreambooth_cli.validate import print_problems, print_warnings

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.preparation import JobOptions
    from dreambooth_client.seen import Seen

OPTIONS = {"photos": "PHOTOS", "class_": "--class", "manifest": "-f"}
"""The options of this command by the arguments of the client."""


def submit(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PHOTOS...", help="Photos of the subject, or a folder of them.", show_default=False),
    ] = None,
    class_: Annotated[
        str | None,
        typer.Option("--class", metavar="NOUN", help="What the subject is: dog, backpack, toy.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--filename", parser=expanded, metavar="FILE", help="A manifest, instead.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the DreamBoothJob.", show_default="the class, and letters"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Base model.", show_default="Stable Diffusion 1.5")
    ] = None,
    method: Annotated[Literal["full", "lora"] | None, typer.Option(help="What to train.", show_default="lora")] = None,
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="DreamBoothRuntime to run with.", show_default="that of the namespace"),
    ] = None,
    set_: Set = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it ends.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be created, and create nothing.")
    ] = False,
    output: Answer = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Train a model in a cluster on photos of this machine.

    Checks the photos, scales them to the size that the training uses, puts them into a ConfigMap and creates a
    DreamBoothJob. With -f, the settings are those of a manifest; its pictures of this machine go into ConfigMaps too.
    """
    job, pictures = _objects_or_exit(
        photos,
        class_,
        {
            "manifest": file,
            "name": name,
            "model": model,
            "method": method,
            "runtime": runtime,
            "settings": parsed(set_ or ()),
        },
    )
    if dry_run:
        typer.echo(yaml.safe_dump_all([*pictures, job], sort_keys=False), nl=False)
        return

    async def work(session: "Session") -> "Seen":
        from dreambooth_client.cluster import submission

        seen = await submission.submit(session, job, pictures)
        if output:
            show(output, [seen])
        else:
            say(f"{seen.target} is submitted: {hint('watch', seen.target, context, namespace)}")
        return await follow(session, seen.target) if wait else seen

    seen = in_cluster(context, namespace, work)
    if wait:
        exit_with(seen, context, namespace)


def _objects_or_exit(
    photos: list[Path] | None, class_: str | None, options: "JobOptions"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The DreamBoothJob and the ConfigMaps to create; ends the command if something is wrong with them or the pictures."""
    from dreambooth_client.cluster.submission import objects_of
    from dreambooth_client.preparation import prepare

    try:
        prepared = prepare(photos or None, class_, options)
        print_warnings(prepared.warnings)
        return objects_of(prepared)
    except InvalidConfig as failure:
        own = [replace(one, field=OPTIONS[one.field]) for one in failure.problems if one.field in OPTIONS]
        if own:
            fail("\n".join(map(str, own)), InvalidConfig.exit_code)
        print_problems(Path(options.get("manifest") or "submit"), failure.problems)
        raise typer.Exit(InvalidConfig.exit_code) from None
