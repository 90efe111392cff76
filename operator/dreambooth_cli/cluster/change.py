"""`dreambooth suspend`, `resume`, `retry` and `delete`."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from dreambooth_api.failures import InvalidConfig
from dreambooth_cli.cluster.options import Context, Name, Namespace, hint, in_cluster, target_or_exit
from dreambooth_cli.output import complain, fail, say

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.seen import Seen

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="A field of the spec, such as training.steps=500.", show_default=False
    ),
]


def suspend(name: Name, context: Context = None, namespace: Namespace = None) -> None:
    """Stop the pods of a workload, which save their state; resume continues from there."""
    _set_suspend(name, context, namespace, True)


def resume(name: Name, context: Context = None, namespace: Namespace = None) -> None:
    """Continue a suspended workload."""
    _set_suspend(name, context, namespace, False)


def _set_suspend(name: str, context: str | None, namespace: str | None, wanted: bool) -> None:
    target = target_or_exit(name)

    async def work(session: "Session") -> None:
        from dreambooth_client.cluster import changes

        await changes.suspend(session, target, wanted)
        say(f"{target} is {'suspended' if wanted else 'resumed'}")

    in_cluster(context, namespace, work)


def delete(
    name: Name,
    wait: Annotated[bool, typer.Option(help="Wait until its pods are gone.")] = True,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Delete a workload, and the pictures that submit has put into the cluster.

    The claim with its files remains, unless volumes.output.create.deletionPolicy is Delete.
    """
    target = target_or_exit(name)

    async def work(session: "Session") -> None:
        from dreambooth_client.cluster import submission

        seen = await submission.delete(session, target, wait=wait)
        say(f"{target} is deleted{_what_remains(seen)}")

    in_cluster(context, namespace, work)


def _what_remains(seen: "Seen") -> str:
    from dreambooth_api.job import KIND

    output = seen.spec.get("volumes", {}).get("output", {})
    if seen.target.kind != KIND or output.get("create", {}).get("deletionPolicy") == "Delete":
        return ""
    return f"; its files remain on claim {output.get('claimName') or seen.target.name}"


def retry(
    name: Name,
    changes: Set = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Start a workload again that has ended: after a failure, or with other settings.

    It is replaced by a new one with the same name and files, which continues from the last checkpoint.
    """
    target = target_or_exit(name)
    wanted = parsed(changes or ())

    async def work(session: "Session") -> None:
        from dreambooth_client.cluster.changes import retry

        await retry(session, target, wanted, complain)
        say(f"{target} starts again: {hint('watch', target, context, namespace)}")

    in_cluster(context, namespace, work)


def parsed(assignments: Sequence[str]) -> dict[str, Any]:
    """Fields with their values, from texts such as `training.steps=500`; values are YAML. Ends the command if one is wrong."""
    result: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*", path):
            fail(f"--set: {text!r} sets no field. Give FIELD=VALUE, as training.steps=500.", InvalidConfig.exit_code)
        *sections, field = path.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                fail(f"--set: {text!r} sets a field of a value. Remove one of the two.", InvalidConfig.exit_code)
        try:
            place[field] = yaml.safe_load(value)
        except yaml.YAMLError:
            fail(f"--set: {text!r} has no valid value. Quote it as in YAML.", InvalidConfig.exit_code)
    return result
