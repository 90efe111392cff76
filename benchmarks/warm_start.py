"""Starts trainers without their seconds of imports, so that many starts, kills and restarts of a run take little time.

Called by `kills.py` and by the tests. Every start is a process of its own that executes `python -m dreambooth_trainer`; it is
forked from a server that has imported the libraries and nothing else.
"""

import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

LIBRARIES = [
    "dreambooth_trainer.job",
    "dreambooth_trainer.pipeline",
    "dreambooth_trainer.training.engine",
    "dreambooth_trainer.models",
    "peft",
    "matplotlib.pyplot",
]


def server() -> ForkServerContext:
    """The context whose processes start warm; the first of them waits for the imports."""
    # Processes with a thread for each core hinder each other, and a fork must find no threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Asked the usual way whether there is a GPU, the CUDA runtime would work in no process that is forked later.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def warm_start(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> BaseProcess:
    """Starts a trainer.

    Args:
        arguments: those behind `python -m dreambooth_trainer`.
        log: file that its output is appended to.
        environment: further variables.
        before: a module's function that the new process calls before the trainer.
    """
    environment = dict(environment or {})
    # A server whose libraries have seen a GPU starts no process that shall see none.
    hidden = environment.get("CUDA_VISIBLE_DEVICES") == ""
    context = get_context("spawn") if hidden else server()
    process = context.Process(target=_main, args=(list(arguments), log, environment, before))
    process.start()
    return process


def _main(arguments: list[str], log: Path, environment: dict[str, str], before: Callable[[], None] | None) -> None:
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    if before:
        before()
    sys.argv = ["dreambooth_trainer", *arguments]
    runpy.run_module("dreambooth_trainer", run_name="__main__", alter_sys=True)
