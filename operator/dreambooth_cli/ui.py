"""`dreambooth ui`: a page in the browser for photos, jobs and pictures."""

import asyncio
import signal
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from dreambooth_api.failures import InvalidConfig
from dreambooth_api.files import expanded
from dreambooth_cli.cluster.options import Context, Namespace
from dreambooth_cli.output import fail, say

RUNS = Path("runs")
"""Where `dreambooth run` puts the results, too."""


def ui(
    context: Context = None,
    namespace: Namespace = None,
    local: Annotated[bool, typer.Option("--local", help="Run jobs on this machine, not in a cluster.")] = False,
    folder: Annotated[
        Path, typer.Option(parser=expanded, metavar="DIR", help="Folder of the runs on this machine.")
    ] = RUNS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Show a page in the browser: photos in, pictures out.

    Jobs run in the cluster of the kubeconfig, or on this machine if there is none. Only this machine reaches the page, by an
    address with a token. Ctrl-C ends the page; jobs go on.
    """
    try:
        from dreambooth_client import AsyncDreamBooth
        from dreambooth_client.cluster.session import is_configured
        from dreambooth_client.errors import ClientFailure
        from dreambooth_ui.server import listening, serve
    except ModuleNotFoundError as error:
        remedy = "Install it with: pip install 'dreambooth-operator[ui]'"
        fail(f"the library {error.name} for the page is missing. {remedy}", InvalidConfig.exit_code)

    here = local or not (context or namespace or is_configured())
    dreambooth = AsyncDreamBooth.local(folder) if here else AsyncDreamBooth(namespace, context)

    def ready(address: str) -> None:
        say(address)
        if browser:
            webbrowser.open(address)

    try:
        at = listening(port)
    except OSError as error:
        fail(f"--port: {port} can't be used: {error.strerror}. Give another one.", InvalidConfig.exit_code)
    # The server ends in order at Ctrl-C, and then raises the signal once more.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with at:
            asyncio.run(serve(dreambooth, at, ready))
    except ClientFailure as failure:
        fail(failure, failure.exit_code)
    finally:
        signal.signal(signal.SIGINT, before)
