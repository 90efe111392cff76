"""One start of a training or of a scene as a process: signals, console, endpoints, the lock of its folder, exit code and
termination message. Used by `job.py` and `scene.py`."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from dreambooth_api.failures import InvalidConfig, Problem, StorageUnavailable, TrainerFailure
from dreambooth_api.printing import printable
from dreambooth_api.progress import PhaseName
from dreambooth_trainer.monitoring.console import console_observer
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.recording import recorder
from dreambooth_trainer.monitoring.server import Server, serve
from dreambooth_trainer.process.lock import one_writer
from dreambooth_trainer.process.termination import Outcome, clear_termination, outcome_of, redact, write_termination
from dreambooth_trainer.run import StopSignal


class Start:
    """A process that trains or generates. A signal stops its work gracefully from now on."""

    def __init__(
        self, shares: Mapping[PhaseName, int], console: Console | None = None, progress_log: Path | None = None
    ) -> None:
        """Listens to signals.

        Args:
            shares: the phases of the work; see `Progress`.
            console: where to show the progress. Default: on stdout, in the main process.
            progress_log: file in which the main process keeps its progress; see `recorder`.
        """
        self.stop = StopSignal()
        self.stop.listen()
        self.rank = int(os.environ.get("RANK", 0))
        self.main = self.rank == 0
        self.console = console or Console(quiet=not self.main, highlight=False)
        self.progress = Progress([console_observer(self.console)] if self.main else [], shares)
        if self.main and progress_log:
            self.progress.observe(recorder(progress_log))

    def run(
        self,
        work: Callable[[], Outcome],
        folder: Path,
        lock: Path,
        *,
        port: int | None = None,
        termination_log: Path | None = None,
    ) -> Outcome:
        """Does the work as the only writer of a folder, until it ends or fails.

        Args:
            work: the work.
            folder: the folder.
            lock: its lock file.
            port: port on which the main process serves `/progress`, `/metrics` and `/healthz`; None for no server, 0 for
                any free port.
            termination_log: file for the termination message.
        """
        try:
            with ExitStack() as stack:
                if self.main and port is not None:
                    server = stack.enter_context(_serve(self.progress, port))
                    self.console.print(f"serving /progress, /metrics and /healthz on port {server.port}")
                if self.main:
                    waiting, lost = partial(say, self.console), partial(_lost, termination_log)
                    stack.enter_context(one_writer(lock, folder, waiting=waiting, check=self.stop.check, lost=lost))
                    if termination_log:
                        # How an earlier start has ended is not how this one ends if it is killed.
                        clear_termination(termination_log)
                quiet_libraries()
                logging.setLogRecordFactory(_Redacted)
                outcome = work()
        except BaseException as error:
            outcome = replace(outcome_of(error, os.environ), step=self.progress.snapshot().step)
            _print_failure(outcome, error, self.rank)
        if self.main and termination_log:
            write_termination(termination_log, outcome)
        return outcome


@contextmanager
def ending_at_a_failure(termination_log: Path | None) -> Iterator[None]:
    """Ends the process at a failure of the block, which comes before the work."""
    try:
        yield
    except TrainerFailure as error:
        if termination_log:
            write_termination(termination_log, outcome_of(error, {}))
        print(printable(f"{error.reason}: {error}"), file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def read_settings(file: Path) -> Any:
    """The content of the JSON file of the option `--config`.

    Raises:
        InvalidConfig: it can't be read.
    """
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        message, remedy = f"can't be read as JSON: {error}", "Give the file that holds the settings"
        raise InvalidConfig([Problem("--config", str(file), message, remedy)]) from error


def _serve(progress: Progress, port: int) -> Server:
    try:
        return serve(progress, port)
    except OSError as error:
        problem = Problem("--port", port, f"can't be used: {error.strerror}", "Choose another, or leave it out")
        raise InvalidConfig([problem]) from error


def _lost(termination_log: Path | None, message: str) -> None:
    """Ends the process at once: anything that it wrote from now on would mix with the files of another process."""
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
