"""One start of a run as a process: signals, console, endpoints and exit code. Called by `dreambooth run` and by
`__main__`."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dreambooth_api.failures import InvalidConfig, Problem, StorageUnavailable
from dreambooth_api.printing import printable
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.monitoring.console import console_observer
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.server import Server, serve
from dreambooth_trainer.process.hub_cache import use_hub_cache
from dreambooth_trainer.process.lock import one_writer
from dreambooth_trainer.process.termination import Outcome, outcome_of, redact, write_termination
from dreambooth_trainer.run import Run, RunFolder, StopSignal


def run_job(
    config: TrainConfig, output: Path, *, cache: Path, port: int | None = None, termination_log: Path | None = None
) -> int:
    """Runs a training until it ends or fails, and returns the exit code of the process.

    Args:
        config: the settings.
        output: folder of the run. With the folder of an earlier start, the run continues where that start stopped.
        cache: folder that runs share.
        port: port on which the main process serves `/progress`, `/metrics` and `/healthz`; None for no server, 0 for
            any free port.
        termination_log: file for the termination message.
    """
    stop = StopSignal()
    stop.listen()
    rank = int(os.environ.get("RANK", 0))
    main = rank == 0
    console = Console(quiet=not main, highlight=False)
    progress = Progress([console_observer(console)] if main else [])
    folder = RunFolder(output)
    try:
        with ExitStack() as stack:
            if main and port is not None:
                server = stack.enter_context(_serve(progress, port))
                console.print(f"serving /progress, /metrics and /healthz on port {server.port}")
            if main:
                waiting, lost = partial(say, console), partial(_lost, termination_log)
                stack.enter_context(one_writer(folder.lock, waiting=waiting, check=stop.check, lost=lost))
            if folder.complete.exists():
                say(console, f"checking the finished phases in {output}")
            result = _run(config, folder, cache, progress, stop)
            warnings = progress.snapshot().warnings
            outcome = Outcome(
                "Completed", 0, f"the model is in {folder.model}", config.training.steps, result, warnings
            )
    except BaseException as error:
        outcome = replace(outcome_of(error, os.environ), step=progress.snapshot().step)
        _print_failure(outcome, error, rank)
    if main and termination_log:
        write_termination(termination_log, outcome)
    if main and outcome.exit_code == 0:
        found = json.loads(folder.result.read_text())
        for warning in found["warnings"]:
            say(console, f"warning: {warning}")
        if choice := found.get("choice"):
            say(console, choice["reason"])
        results = {"model": folder.model, "contact sheet": folder.samples / "sheet.png", "report": folder.report}
        for what, path in results.items():
            say(console, f"{what:14}{path}")
    return outcome.exit_code


def _serve(progress: Progress, port: int) -> Server:
    try:
        return serve(progress, port)
    except OSError as error:
        problem = Problem("--port", port, f"can't be used: {error.strerror}", "Choose another, or leave it out")
        raise InvalidConfig([problem]) from error


def _lost(termination_log: Path | None, message: str) -> None:
    """Ends the process at once: anything that it wrote from now on would mix with the files of another run."""
    outcome = outcome_of(StorageUnavailable(message), os.environ)
    if termination_log:
        write_termination(termination_log, outcome)
    print(printable(f"{outcome.reason}: {outcome.message}"), file=sys.stderr, flush=True)
    os._exit(outcome.exit_code)


def _print_failure(outcome: Outcome, error: BaseException, rank: int) -> None:
    """Prints on stderr why this process ends, with a traceback only for an internal error of the trainer."""
    console = Console(stderr=True, highlight=False)
    if outcome.reason == "InternalError":
        say(console, redact("".join(traceback.format_exception(error)), os.environ))
    who = f"rank {rank}: " if rank else ""
    say(console, who, (outcome.reason, "bold"), f": {outcome.message}")


def say(console: Console, *parts: str | tuple[str, str]) -> None:
    """Prints text, parts of it in a style. Markup and control sequences in the text have no effect."""
    styled = ((part, "") if isinstance(part, str) else part for part in parts)
    console.print(Text.assemble(*((printable(text), style) for text, style in styled)), soft_wrap=True)


def quiet_libraries() -> None:
    """Hides the libraries' log messages from the console, except errors."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)


class _Redacted(logging.LogRecord):
    """A log record without the secrets of the environment: an error message of the hub may repeat the request."""

    def getMessage(self) -> str:
        """The message."""
        return redact(super().getMessage(), os.environ)


def _run(
    config: TrainConfig, folder: RunFolder, cache: Path, progress: Progress, stop: StopSignal
) -> Mapping[str, float | str | None]:
    quiet_libraries()
    logging.setLogRecordFactory(_Redacted)
    if "hf://" in (config.model.source[:5], config.evaluation.encoder[:5]) or Path(config.model.source).is_file():
        use_hub_cache(folder.hub, os.environ)
    # Imported late: torch and the libraries around it take seconds to import, and signals and the health endpoint must
    # not wait for them. `Distributed` comes first, since DeepSpeed reads the environment when it is imported.
    from dreambooth_trainer.process.distributed import Distributed

    distributed = Distributed.from_environment()
    from dreambooth_trainer.pipeline import run_phases

    return run_phases(Run(config, folder, cache, distributed, progress, stop))
