"""`dreambooth logs`: what a trainer has written."""

import sys
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Annotated

import typer

from dreambooth_api.printing import printable
from dreambooth_cli.cluster.options import Context, Name, Namespace, in_cluster, target_or_exit
from dreambooth_cli.output import complain

if TYPE_CHECKING:
    from dreambooth_client.session import Session


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
        from dreambooth_client.errors import ClusterFailure
        from dreambooth_client.workloads import main_pod, read
        from dreambooth_operator.objects.names import CONTAINER

        seen = await read(session, target)
        pod = await main_pod(session, seen)
        if pod is None:
            raise ClusterFailure(
                f"{target} has no pod. {seen.phase}: {seen.status.message or 'not seen by the operator'}"
            )
        found = pod["metadata"]["name"]
        complain(f"log of pod {found}")
        decoder = getincrementaldecoder("utf-8")("replace")
        async for piece in session.streams.log(session.namespace, found, CONTAINER, follow=follow, tail=tail):
            # A terminal would obey what an image of somebody else prints.
            text = printable(decoder.decode(piece)) if sys.stdout.isatty() else piece
            typer.echo(text, nl=False)

    in_cluster(context, namespace, work)
