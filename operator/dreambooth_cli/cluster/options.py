"""Options and answers that the commands about a cluster share."""

import asyncio
import json
import shlex
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
import yaml

from dreambooth_api.failures import Interrupted, InvalidConfig
from dreambooth_cli.output import fail

if TYPE_CHECKING:
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.seen import Seen, Target


T = TypeVar("T")


class Format(StrEnum):
    """Format of an answer for programs."""

    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A DreamBoothJob, or scene/NAME for a DreamBoothScene.", show_default=False),
]
Context = Annotated[
    str | None, typer.Option(metavar="NAME", help="Context of the kubeconfig.", show_default="the current one")
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Namespace.", show_default="that of the context"),
]
Answer = Annotated[Format | None, typer.Option("-o", "--output", help="Print the object instead.", show_default=False)]
StartSeconds = Annotated[
    float | None,
    typer.Option(
        min=1, metavar="SECONDS", help="How long a pod that reads the files may take to start.", show_default="300"
    ),
]


def in_cluster(context: str | None, namespace: str | None, work: "Callable[[Session], Awaitable[T]]") -> T:
    """Connects to a cluster and does the work of a command; ends the command if that fails.

    Args:
        context: context of the kubeconfig.
        namespace: the namespace.
        work: gets the connection.
    """
    try:
        from dreambooth_client.cluster.session import connected
        from dreambooth_client.errors import ClientFailure
    except ModuleNotFoundError as error:
        remedy = "Install it with: pip install 'dreambooth-operator[cluster]'"
        fail(f"the library {error.name} for clusters is missing. {remedy}", InvalidConfig.exit_code)

    async def run() -> T:
        async with connected(context, namespace) as session:
            return await work(session)

    async def stoppable() -> T:
        task = asyncio.ensure_future(run())
        # On Windows, event loops handle no signals; Ctrl-C then ends the process at once.
        with suppress(NotImplementedError):
            # The task then ends in order: a pod that it has started is deleted.
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await task

    try:
        return asyncio.run(stoppable())
    except ClientFailure as failure:
        fail(failure, failure.exit_code)
    except asyncio.CancelledError:
        fail("Interrupted: the same command continues", Interrupted.exit_code)


def target_or_exit(name: str) -> "Target":
    """The workload that an argument names; ends the command if it names none."""
    from dreambooth_client.seen import target_of

    try:
        return target_of(name)
    except ValueError as error:
        fail(f"NAME: {error}.", InvalidConfig.exit_code)


def hint(command: str, target: "Target", context: str | None, namespace: str | None) -> str:
    """A command about a workload, with the options by which it is found."""
    options = {"--context": context, "--namespace": namespace}
    words = [f"{option} {shlex.quote(value)}" for option, value in options.items() if value]
    return " ".join(["dreambooth", command, str(target), *words])


def show(format_: Format, seen: "Sequence[Seen]", *, as_list: bool = False) -> None:
    """Prints workloads for programs: as kubectl does, but without the fields that only the API server needs."""
    if format_ is Format.NAME:
        for one in seen:
            typer.echo(f"{one.target.kind.lower()}.dreambooth.io/{one.target.name}")
        return
    objects = [_without_managed_fields(one.object) for one in seen]
    answer: Any = {"apiVersion": "v1", "kind": "List", "items": objects} if as_list else objects[0]
    if format_ is Format.JSON:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True), nl=False)


def _without_managed_fields(item: Any) -> dict[str, Any]:
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    order = "apiVersion", "kind"
    return {**{key: item[key] for key in order}, "metadata": metadata} | {
        key: value for key, value in item.items() if key not in (*order, "metadata")
    }
