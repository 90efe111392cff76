"""What a run is made of, handed from `pipeline.py` to every phase: its settings, its folder, its processes, its progress."""

import os
import signal
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dreambooth_api.failures import Interrupted, ModelUnavailable
from dreambooth_api.prompts import fill
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.monitoring.progress import Progress

if TYPE_CHECKING:
    from dreambooth_trainer.models.base import Identity, ModelFamily
    from dreambooth_trainer.process.distributed import Distributed


@dataclass(frozen=True)
class RunFolder:
    """Names of everything in the folder of a run."""

    root: Path

    @property
    def state(self) -> Path:
        """Results of finished phases, one JSON file each."""
        return self.root / "state"

    @property
    def lock(self) -> Path:
        """Says which process writes to the folder; there only while one does, or where it was killed."""
        return self.state / "lock"

    @property
    def photos(self) -> Path:
        """The subject's photos, upright, square, at the training resolution (PNG)."""
        return self.root / "photos"

    @property
    def class_images(self) -> Path:
        """Class images that a shared cache lacks and that can't be put there."""
        return self.root / "class-images"

    @property
    def base_pictures(self) -> Path:
        """Pictures for the evaluation that a shared cache lacks and that can't be put there."""
        return self.root / "base-pictures"

    @property
    def hub(self) -> Path:
        """The hub's cache, where the usual one can only be read."""
        return self.root / "hub"

    @property
    def checkpoints(self) -> Path:
        """Training states: `step-00000100/`."""
        return self.root / "checkpoints"

    @property
    def weights(self) -> Path:
        """What training changed, gathered from all processes: `weights.safetensors`."""
        return self.root / "weights"

    @property
    def losses(self) -> Path:
        """A JSON line for each optimizer step."""
        return self.root / "losses.jsonl"

    @property
    def model(self) -> Path:
        """The exported model."""
        return self.root / "model"

    @property
    def samples(self) -> Path:
        """Pictures of the prompts before and after training, and the contact sheet."""
        return self.root / "samples"

    @property
    def samples_on_the_way(self) -> Path:
        """Pictures that were drawn during training: `step-00000100/`."""
        return self.root / "samples-on-the-way"

    @property
    def evaluation(self) -> Path:
        """Pictures that the evaluation drew before and after training."""
        return self.root / "evaluation"

    @property
    def report(self) -> Path:
        """The report: one HTML file."""
        return self.root / "report.html"

    @property
    def result(self) -> Path:
        """The result in JSON."""
        return self.root / "result.json"

    @property
    def complete(self) -> Path:
        """Marks a finished run; written last."""
        return self.root / "COMPLETE"


STOPPING = [
    number
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGUSR1", "SIGUSR2", "SIGPWR")
    if (number := getattr(signal, name, None))
]
"""Signals by which a supervisor, a terminal that is closed, a keyboard, a limit, a batch system or a failing power supply end a
process."""

AT_ONCE = signal.SIGINT, signal.SIGQUIT
"""Those of the keyboard: whoever presses twice does not want to wait."""


class StopSignal:
    """Set by a signal or a test; phases ask between two units of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self, *_: object) -> None:
        """Asks the run to save its state and stop; a signal handler."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether the run shall stop."""
        return self._event.is_set()

    def listen(self) -> None:
        """Stops gracefully at the first signal, at once at a second one from the keyboard.

        What the process was started to ignore (nohup: SIGHUP) stays ignored.
        """

        def once(number: int, _: object) -> None:
            self.request()
            if number in AT_ONCE:
                for one in AT_ONCE:
                    signal.signal(one, signal.default_int_handler)

        for number in STOPPING:
            if number in (signal.SIGTERM, signal.SIGINT) or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, once)

    def check(self) -> None:
        """Raises `Interrupted` if the run shall stop; where nothing but finished units is at stake."""
        if self.requested:
            raise Interrupted("stopped by a signal; what was finished is kept, and the next start goes on")


@dataclass
class Run:
    """A run of the trainer in one process."""

    config: TrainConfig
    folder: RunFolder
    cache: Path
    """Folder of what jobs share: class images."""
    distributed: "Distributed"
    progress: Progress
    stop: StopSignal = field(default_factory=StopSignal)
    identifier: str = ""
    """The word of the subject, once `prepare` has found it."""

    @cached_property
    def base(self) -> "Identity":
        """What the base model is."""
        from dreambooth_trainer.models import identify

        return identify(self.config.model)

    @cached_property
    def model(self) -> "ModelFamily":
        """The frozen base model, loaded when a phase first asks for it.

        Raises:
            ModelUnavailable: it can't be loaded, or is another than at the start of this process.
        """
        from dreambooth_trainer.models import identify, load

        # A branch of a repository may move while the run goes on.
        chosen = self.config.model.model_copy(update={"revision": self.base.commit or self.config.model.revision})
        if self.distributed.is_main and identify(chosen).digest != self.base.digest:
            raise ModelUnavailable(
                f"model.source: {chosen.source!r} has changed since this run started. Put the model back that the run began "
                "with, then start it again."
            )
        return load(chosen, self.distributed, self.config.training.mixed_precision, self.base.digest)

    @property
    def resolution(self) -> int:
        """Side of the training pictures in pixels."""
        return self.config.training.resolution or self.model.resolution

    def take_model(self) -> "ModelFamily":
        """The base model, to be changed by who takes it; the next to ask for `model` gets a fresh one."""
        model = self.model
        del self.model
        return model

    def fill(self, prompt: str) -> str:
        """A prompt of the manifest with the identifier and the class filled in."""
        return fill(prompt, identifier=self.identifier, class_=self.config.subject.class_)


def default_cache() -> Path | None:
    """The user's cache folder (XDG base directory specification); None for a user without a home."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "dreambooth"
    try:
        return Path.home() / ".cache" / "dreambooth"
    except RuntimeError:
        return None
