"""The command `dreambooth`. One file for each of its commands; this one ties them together."""

from importlib.metadata import version
from typing import Annotated

import typer

from dreambooth_cli.generate import generate
from dreambooth_cli.run import run
from dreambooth_cli.validate import validate

app = typer.Typer(
    name="dreambooth",
    help="Personalised diffusion models from a few photos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(validate)
app.command()(run)
app.command()(generate)


def _print_version(wanted: bool) -> None:
    if wanted:
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
    app()
