"""`dreambooth watch`: follows one workload until it ends, or shows all of a namespace."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from dreambooth_cli.cluster.options import Context, Namespace, in_cluster, target_or_exit
from dreambooth_cli.cluster.outcome import exit_with

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.seen import Seen, Target

TABLE_SECONDS = 2.0
"""Time between two lists."""


def watch(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A DreamBoothJob, or scene/NAME for a DreamBoothScene. Without it, a table of all.",
            show_default=False,
        ),
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Follow a DreamBoothJob or DreamBoothScene until it ends, or show all of a namespace.

    Exits with 0 when it is complete, otherwise with the code of its failure.
    """
    if name is None:
        in_cluster(context, namespace, _all)
        return
    target = target_or_exit(name)
    seen = in_cluster(context, namespace, lambda session: follow(session, target))
    exit_with(seen, context, namespace)


async def follow(session: "Session", target: "Target") -> "Seen":
    """Shows the progress of a workload until it ends, and returns it."""
    from dreambooth_client.cluster.following import followed
    from dreambooth_client.display import display

    console = Console(stderr=True, highlight=False)
    with display(console) as shown:
        async for seen in followed(session, target, lambda text: console.print(text, markup=False, soft_wrap=True)):
            shown.update(seen)
    return seen


async def _all(session: "Session") -> None:
    from dreambooth_cli.cluster.table import table
    from dreambooth_client.cluster.workloads import listed

    with Live(auto_refresh=False) as live:
        while True:
            live.update(table(await listed(session), datetime.now(UTC), with_namespaces=False), refresh=True)
            await asyncio.sleep(TABLE_SECONDS)
