"""The command `dreambooth`. One file for each of its commands; this one ties them together.

A command imports what it works with when it runs: neither `--help` nor another command waits for it.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NoReturn

import typer

from dreambooth_api.failures import Interrupted
from dreambooth_cli.cluster.change import delete, resume, retry, suspend
from dreambooth_cli.cluster.describe import describe
from dreambooth_cli.cluster.fetch import fetch
from dreambooth_cli.cluster.listing import list_
from dreambooth_cli.cluster.logs import logs
from dreambooth_cli.cluster.open import open_
from dreambooth_cli.cluster.submit import submit
from dreambooth_cli.cluster.watch import watch
from dreambooth_cli.generate import generate
from dreambooth_cli.plan import plan
from dreambooth_cli.run import run
from dreambooth_cli.ui import ui
from dreambooth_cli.validate import validate
from dreambooth_trainer.process.streams import keep_streams

app = typer.Typer(
    name="dreambooth",
    help="Personalised diffusion models from a few photos.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
COMMANDS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Commands": (validate, plan, run, generate, ui),
    "In a cluster": (submit, list_, watch, logs, describe, fetch, open_, suspend, resume, retry, delete),
}
"""The commands, by where they work."""
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dreambooth {version('dreambooth-operator')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Personalised diffusion models from a few photos."""


def main() -> None:
    """Entry point of the console script."""
    keep_streams()
    signal.signal(signal.SIGINT, _interrupted)
    app()


def _interrupted(*_: object) -> NoReturn:
    """Ctrl-C before anything could be saved; a run and a scene have their own handler."""
    typer.echo("Interrupted: stopped by Ctrl-C; the same command resumes the run", err=True)
    raise SystemExit(Interrupted.exit_code)
