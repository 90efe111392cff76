"""What the commands print: plain text, whatever stands in manifests and file names."""

from typing import NoReturn

import typer

from dreambooth_api.printing import one_line, printable


def say(text: object) -> None:
    """Prints an answer, which is one line."""
    typer.echo(one_line(str(text)))


def complain(text: object) -> None:
    """Prints what is wrong, apart from the answers."""
    typer.echo(printable(str(text)), err=True)


def fail(text: object, code: int) -> NoReturn:
    """Prints what is wrong and ends the command."""
    complain(text)
    raise typer.Exit(code)
