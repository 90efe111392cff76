"""Starts the trainer's processes of one pod.

    python -m dreambooth_trainer.launch --nodes 1 --processes 1 -- --config ...

With a single process, this process becomes the trainer. Several processes, in one pod or in many, are started by
torchrun: one agent in each pod, with a static rendezvous at the first pod. The rank of a pod is its index in the
Indexed Job. In both cases the exit code is that of the trainer (see `failures.py`), which torchrun alone would hide.
"""

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from dreambooth_api.failures import CommunicationFailure, Interrupted
from dreambooth_api.printing import printable
from dreambooth_trainer.process.streams import keep_streams

TRAINER = "dreambooth_trainer"
JOIN_SECONDS = 900
"""How long pods wait for each other: a node may have to pull an image of gigabytes."""
SAVE_SECONDS = 240
"""How long processes may take to save their state when they must stop."""


def main(
    arguments: Annotated[list[str], typer.Argument(help="Arguments of the trainer, after --.")],
    nodes: Annotated[int, typer.Option(min=1, help="Pods of the run.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Processes in each pod.")] = 1,
    master: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address at which the processes meet.")
    ] = "127.0.0.1:29500",
) -> None:
    """Starts the trainer in one or several processes."""
    command = ["-m", TRAINER, *arguments]
    if nodes * processes == 1:
        os.execv(sys.executable, [sys.executable, *command])
    raise typer.Exit(_torchrun(nodes, processes, master, command))


def _torchrun(nodes: int, processes: int, master: str, command: list[str]) -> int:
    """Runs this pod's processes and returns the exit code of the first that failed."""
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing import SignalException, api
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(each, signal.SIG_IGN)
        raise SignalException(f"received signal {signum}", sigval=signal.Signals(signum))

    # With torchrun's own handler, a second signal ends the agent, and with it the pod, while the processes still save.
    api._terminate_process_handler = stop
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=TRAINER,
        rdzv_backend="static",
        rdzv_endpoint=master,
        rdzv_configs={"rank": int(os.environ.get("JOB_COMPLETION_INDEX", 0)), "timeout": JOIN_SECONDS},
        max_restarts=0,
        monitor_interval=0.5,
        shutdown_timeout=SAVE_SECONDS,
    )
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        # The exit code of a process that a signal ended is the negative number of the signal.
        return int(first.exitcode) if first.exitcode > 0 else 128 - int(first.exitcode)
    except SignalException:
        return Interrupted.exit_code
    except DistError as error:
        typer.echo(printable(f"CommunicationFailure: the pods did not find each other: {error}"), err=True)
        return CommunicationFailure.exit_code
    return 0


if __name__ == "__main__":
    keep_streams()
    typer.run(main)
