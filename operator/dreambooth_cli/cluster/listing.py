"""`dreambooth list`: the DreamBoothJobs and DreamBoothScenes of a namespace."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dreambooth_cli.cluster.options import Answer, Context, Namespace, in_cluster, show
from dreambooth_cli.output import complain

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session

WIDE = 250
"""Columns of a table that no terminal shows."""

Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Those of all namespaces.")]


def list_(
    all_namespaces: Everywhere = False,
    output: Answer = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """List the DreamBoothJobs and DreamBoothScenes of a namespace."""

    async def work(session: "Session") -> None:
        from dreambooth_cli.cluster.table import table
        from dreambooth_client.cluster.workloads import listed

        seen = await listed(session, everywhere=all_namespaces)
        if output:
            show(output, seen, as_list=True)
        elif seen:
            print_table(table(seen, datetime.now(UTC), with_namespaces=all_namespaces))
        else:
            where = "any namespace" if all_namespaces else f"namespace {session.namespace}"
            complain(f"no DreamBoothJobs or DreamBoothScenes in {where}")

    in_cluster(context, namespace, work)


def print_table(rows: Table) -> None:
    """Prints a table: in the width of the terminal, or wide and without colours, so that programs can read it."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(rows)
        return
    wide = Console(highlight=False, width=WIDE)
    with wide.capture() as captured:
        wide.print(rows)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
