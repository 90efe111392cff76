"""Starts trainers without the time for imports, so that many starts, kills and restarts of a run take little time.

Called by `kills.py` and by the tests. Every start is a separate process that executes `python -m dreambooth_trainer`, or
another module of the trainer.
It is forked from a server that has only imported the libraries.
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
    "benchmarks.frozen",
]


def server() -> ForkServerContext:
    """The context for processes with imported libraries. The first process waits for the imports."""
    # Processes with a thread for each core slow each other down, and a process with threads must not be forked.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # After the default check for a GPU, the CUDA runtime does not work in forked processes.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def warm_start(
    arguments: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    module: str = "dreambooth_trainer",
) -> BaseProcess:
    """Starts a trainer.

    Args:
        arguments: arguments of the module.
        log: file to which its output is appended.
        environment: further environment variables.
        before: a function of a module that the new process calls before the trainer.
        module: the module that is executed.
    """
    environment = dict(environment or {})
    # If the libraries of the server have found a GPU, a forked process finds it too.
    hidden = environment.get("CUDA_VISIBLE_DEVICES") == ""
    context = get_context("spawn") if hidden else server()
    process = context.Process(target=_main, args=(module, list(arguments), log, environment, before))
    process.start()
    return process


def _main(
    module: str, arguments: list[str], log: Path, environment: dict[str, str], before: Callable[[], None] | None
) -> None:
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    if before:
        before()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
