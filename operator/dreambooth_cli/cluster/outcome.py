"""How a command ends that has waited for a workload."""

from typing import TYPE_CHECKING, NoReturn

import typer

from dreambooth_cli.cluster.options import hint
from dreambooth_cli.output import complain, say

if TYPE_CHECKING:
    from dreambooth_client.seen import Seen


def exit_with(seen: "Seen", context: str | None, namespace: str | None) -> NoReturn:
    """Says how a workload ended, and ends the command with the exit code of its trainer, or of `NotComplete` without one.

    Args:
        seen: the workload.
        context: context of the kubeconfig that was given.
        namespace: the namespace that was given.
    """
    from dreambooth_client.errors import NotComplete

    status = seen.status
    if seen.phase == "Complete":
        say(f"{seen.target} is complete: {hint('fetch', seen.target, context, namespace)}")
        raise typer.Exit
    complain(f"{seen.target} has failed ({seen.reason}): {status.message}")
    code = status.attempts[-1].exit_code if status.attempts else None
    raise typer.Exit(code or NotComplete.exit_code)
