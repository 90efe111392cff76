"""The command `dreambooth`. One file for each of its commands; this one ties them together.

A command imports what it works with when it runs: neither `--help` nor another command waits for it.
"""

import signal
from typing import Annotated, NoReturn

import typer

from dreambooth_api.failures import Interrupted
from dreambooth_cli.generate import generate
from dreambooth_cli.plan import plan
from dreambooth_cli.run import run
from dreambooth_cli.validate import validate
from dreambooth_trainer.process.streams import keep_streams

app = typer.Typer(
    name="dreambooth",
    help="Personalised diffusion models from a few photos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(validate)
app.command()(plan)
app.command()(run)
app.command()(generate)


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
