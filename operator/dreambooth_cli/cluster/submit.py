"""`dreambooth submit`: photos of this machine to a DreamBoothJob of a cluster."""

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml

from dreambooth_api.failures import InvalidConfig, Problem
from dreambooth_api.files import expanded
from dreambooth_cli.cluster.change import Set, parsed
from dreambooth_cli.cluster.options import Answer, Context, Namespace, hint, in_cluster, show
from dreambooth_cli.cluster.outcome import exit_with
from dreambooth_cli.cluster.watch import follow
from dreambooth_cli.output import fail, say
from dreambooth_cli.validate import print_problems, sound_or_exit
from dreambooth_client.fields import merged

if TYPE_CHECKING:
    from dreambooth_client.session import Session
    from dreambooth_client.workloads import Seen

MODEL = "hf://stable-diffusion-v1-5/stable-diffusion-v1-5"
"""The base model where none is given."""
LARGEST_SIDE = 1024
"""Pixels of the shorter side of photos where `training.resolution` does not say it: the resolution of most base models."""
SIDES = {"embedded://": 256, "stable-diffusion-v1": 512, "stable-diffusion-2": 768}
"""The same for base models with a lower one, by parts of their sources."""


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
    model: Annotated[str | None, typer.Option(metavar="SOURCE", help="Base model.", show_default=MODEL)] = None,
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
    given = {"model": {"source": model}, "training": {"method": method}, "runtime": runtime}
    document = _document(file, photos or (), class_, name, _without_none(given), parsed(set_ or ()))
    with _staged(photos or ()) as folder:
        if folder:
            document = merged(document, {"spec": {"subject": {"images": {"path": str(folder)}}}})
        job, pictures = _checked(document, file or Path("submit"))
    if dry_run:
        typer.echo(yaml.safe_dump_all([*pictures, job], sort_keys=False), nl=False)
        return

    async def work(session: "Session") -> "Seen":
        from dreambooth_client import submission

        seen = await submission.submit(session, job, pictures)
        if output:
            show(output, [seen])
        else:
            say(f"{seen.target} is submitted: {hint('watch', seen.target, context, namespace)}")
        return await follow(session, seen.target) if wait else seen

    seen = in_cluster(context, namespace, work)
    if wait:
        exit_with(seen, context, namespace)


def _document(
    file: Path | None,
    photos: Sequence[Path],
    class_: str | None,
    name: str | None,
    given: dict[str, Any],
    changes: dict[str, Any],
) -> dict[str, Any]:
    """The manifest of the arguments, or of the file with the arguments that were given; ends the command if they are wrong."""
    from dreambooth_api.job import KIND
    from dreambooth_api.workload import API_VERSION

    subject = {"subject": {"class": class_}} if class_ else {}
    if file:
        document = merged(_read(file), {"metadata": {"name": name}} if name else {})
        if photos:
            document["spec"]["subject"] = {**(document["spec"].get("subject") or {}), "images": {}}
    else:
        if not photos or not class_:
            missing = "PHOTOS" if not photos else "--class"
            fail(f"{missing}: missing. Give photos and their --class, or a manifest with -f.", InvalidConfig.exit_code)
        metadata = {"name": name or f"{_label(class_)}-{secrets.token_hex(3)}"}
        spec: dict[str, Any] = {"model": {"source": MODEL}, "training": {"method": "lora"}}
        document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    return merged(document, {"spec": merged(merged(given, subject), changes)})


def _read(file: Path) -> dict[str, Any]:
    """The DreamBoothJob of a file, with absolute folders of pictures instead of paths and of ConfigMaps of the same file."""
    from dreambooth_api.job import KIND
    from dreambooth_cli.manifest import documents_of, of_kind, with_pictures_at_hand

    documents = documents_of(file)
    if isinstance(documents, Problem):
        fail(documents, InvalidConfig.exit_code)
    found = of_kind(documents, KIND)
    if len(found) != 1:
        fail(f"-f: {str(file)!r} has {len(found)} of kind {KIND}. Give a file with one.", InvalidConfig.exit_code)
    document, problems = with_pictures_at_hand(found[0], documents)
    if problems:
        print_problems(file, problems)
        raise typer.Exit(InvalidConfig.exit_code)
    return {**document, "spec": dict(document.get("spec") or {})}


@contextmanager
def _staged(photos: Sequence[Path]) -> Iterator[Path | None]:
    """The folder with the photos of the arguments; None without any. Ends the command if they are no files or one folder."""
    if not photos:
        yield None
    elif len(photos) == 1 and photos[0].is_dir():
        yield photos[0].absolute()
    else:
        for one in photos:
            if not one.is_file():
                reason = "is a folder among files" if one.is_dir() else "does not exist"
                fail(f"PHOTOS: {str(one)!r} {reason}. Give one folder, or files.", InvalidConfig.exit_code)
        with tempfile.TemporaryDirectory(prefix="dreambooth-photos-") as folder:
            for one in photos:
                if (Path(folder) / one.name).exists():
                    fail(f"PHOTOS: two files have the name {one.name!r}. Rename one.", InvalidConfig.exit_code)
                shutil.copyfile(one, Path(folder) / one.name)
            yield Path(folder)


def _checked(document: dict[str, Any], origin: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The DreamBoothJob and the ConfigMaps to create; ends the command if something is wrong with them or the pictures.

    Args:
        document: the manifest, with folders of this machine.
        origin: what messages name, and where relative paths begin.
    """
    from dreambooth_api.cluster_rules import validate
    from dreambooth_cli.manifest import read_job
    from dreambooth_client.submission import in_config_maps

    manifest = sound_or_exit(origin, read_job([document], origin))
    side = manifest.config.training.resolution or _side(manifest.config.model.source)
    job, maps, too_large = in_config_maps(document, origin.parent, side)
    for pictures, size in too_large.items():
        fail(
            f"{pictures.called}: the pictures have {size / 1e6:.1f} MB in the size of the training, more than the 1 MB of a "
            "ConfigMap. Give fewer, set a lower training.resolution, or put them on a PersistentVolumeClaim and name it "
            f"in {pictures.field}.persistentVolumeClaim.",
            InvalidConfig.exit_code,
        )
    if problems := validate(job)[1]:
        print_problems(origin, problems)
        raise typer.Exit(InvalidConfig.exit_code)
    return job, maps


def _side(source: str) -> int:
    """Pixels of the shorter side of photos that the training with a base model uses at most."""
    return next((side for part, side in SIDES.items() if part in source), LARGEST_SIDE)


def _label(text: str) -> str:
    """A text as the beginning of a name of an object."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-0123456789")[:40].strip("-") or "subject"


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without those that are None, and without sections that have no other."""
    kept = {name: _without_none(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}
