"""`dreambooth logs`: what a trainer has written."""

import sys
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Annotated

import typer

from dreambooth_api.printing import printable
from dreambooth_cli.cluster.options import Context, Name, Namespace, in_cluster, target_or_exit
from dreambooth_cli.output import complain

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the pod ends.")] = False,
    tail: Annotated[
        int | None, typer.Option(min=0, metavar="LINES", help="Only the last lines.", show_default="all")
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Print the log of the trainer: that of the newest pod of the main process."""
    target = target_or_exit(name)

    async def work(session: "Session") -> None:
        from dreambooth_client.cluster.logs import log_of

        log = await log_of(session, target, follow=follow, tail=tail)
        complain(f"log of pod {log.pod}")
        decoder = getincrementaldecoder("utf-8")("replace")
        async for piece in log.pieces:
            # A terminal would obey what an image of somebody else prints.
            text = printable(decoder.decode(piece)) if sys.stdout.isatty() else piece
            typer.echo(text, nl=False)

    in_cluster(context, namespace, work)
