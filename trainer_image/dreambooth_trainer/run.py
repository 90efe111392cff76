"""The state of a run that `pipeline.py` passes to every phase: settings, folder, processes and progress."""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dreambooth_api.failures import Interrupted, ModelUnavailable
from dreambooth_api.prompts import Words, fill_for_each
from dreambooth_api.training import TrainConfig
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.monitoring.trackers import Tracker, Trackers

if TYPE_CHECKING:
    from dreambooth_trainer.models.base import ModelFamily
    from dreambooth_trainer.models.identity import Identity
    from dreambooth_trainer.process.distributed import Distributed


@dataclass(frozen=True)
class RunFolder:
    """Paths in the folder of a run."""

    root: Path

    @property
    def state(self) -> Path:
        """Results of finished phases, one JSON file each."""
        return self.root / "state"

    @property
    def settings(self) -> Path:
        """The settings of the last start in JSON, with the commit of the base model."""
        return self.state / "settings.json"

    @property
    def lock(self) -> Path:
        """Names the process that writes to the folder. The file exists while a process writes, or after it was
        killed."""
        return self.state / "lock"

    @property
    def photos(self) -> Path:
        """The training pictures: upright, in the size of the square or of their buckets (PNG). Those of one of several
        subjects are in a folder of its name."""
        return self.root / "photos"

    @property
    def masks(self) -> Path:
        """The masks of the photos, with the same names; missing if no photo has one."""
        return self.root / "masks"

    @property
    def class_images(self) -> Path:
        """Class images that are not in a read-only class-image cache."""
        return self.root / "class-images"

    @property
    def base_pictures(self) -> Path:
        """Pictures of the base model for the evaluation that are not in a read-only cache."""
        return self.root / "base-pictures"

    @property
    def hub(self) -> Path:
        """The hub's cache, if the usual one is read-only."""
        return self.root / "hub"

    @property
    def checkpoints(self) -> Path:
        """Training states: `step-00000100/`."""
        return self.root / "checkpoints"

    @property
    def weights(self) -> Path:
        """The trained weights, gathered from all processes: `weights.safetensors`."""
        return self.root / "weights"

    @property
    def candidates(self) -> Path:
        """With `training.stopping: best`: the weights after some steps, `step-00000100/weights.safetensors`, and the
        figures of those that are evaluated, `step-00000100.json`."""
        return self.root / "candidates"

    @property
    def losses(self) -> Path:
        """A JSON line for each optimizer step."""
        return self.root / "losses.jsonl"

    @property
    def model(self) -> Path:
        """The exported model."""
        return self.root / "model"

    @property
    def tensorboard(self) -> Path:
        """Event files for TensorBoard."""
        return self.root / "tensorboard"

    @property
    def samples(self) -> Path:
        """Pictures of the prompts before and after training, and the contact sheet."""
        return self.root / "samples"

    @property
    def samples_on_the_way(self) -> Path:
        """Pictures that were generated during training: `step-00000100/`."""
        return self.root / "samples-on-the-way"

    @property
    def evaluation(self) -> Path:
        """Pictures that the evaluation generated before and after training."""
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
"""Signals that end a process: from a supervisor, a closed terminal, the keyboard, a resource limit, a batch system or a
failing power supply."""

AT_ONCE = signal.SIGINT, signal.SIGQUIT
"""Signals from the keyboard: a second one ends the process without waiting."""


class StopSignal:
    """Set by a signal or a test. Phases check it between two units of work."""

    def __init__(self) -> None:
        # Not an event: it has a lock, for which a signal handler would wait for ever if it interrupted another one.
        self._requested = False

    def request(self, *_: object) -> None:
        """Requests that the run saves its state and stops; a signal handler."""
        self._requested = True

    @property
    def requested(self) -> bool:
        """Whether the run must stop."""
        return self._requested

    def listen(self) -> None:
        """Stops gracefully at the first signal, and at once at a second one from the keyboard.

        A signal that the parent process set to be ignored (nohup: SIGHUP) stays ignored.
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
        """Raises `Interrupted` if the run must stop. For phases that keep every finished unit of work."""
        if self.requested:
            raise Interrupted("stopped by a signal; finished work is kept, and the next start continues")


@dataclass
class Run:
    """A run of the trainer in one process."""

    config: TrainConfig
    folder: RunFolder
    cache: Path
    """Folder that runs share: class images, and pictures of the base model."""
    distributed: "Distributed"
    progress: Progress
    stop: StopSignal = field(default_factory=StopSignal)
    identifiers: Sequence[str] = ()
    """The words that mean the subjects, one for each; empty until `prepare` has found them."""

    @cached_property
    def base(self) -> "Identity":
        """What the base model is."""
        from dreambooth_trainer.models import identify

        return identify(self.config.model)

    @cached_property
    def model(self) -> "ModelFamily":
        """The frozen base model, loaded at the first access. Its weights are rounded for the arithmetic, or quantized.

        Raises:
            ModelUnavailable: it can't be loaded, or has changed since the start of this process.
        """
        return self._load(exact=False)

    def _load(self, *, exact: bool, quantized: bool = True) -> "ModelFamily":
        from dreambooth_trainer.models import identify, load

        # A branch of a repository may move during the run.
        chosen = self.config.model.model_copy(update={"revision": self.base.commit or self.config.model.revision})
        if self.distributed.is_main and identify(chosen).digest != self.base.digest:
            raise ModelUnavailable(
                f"model.source: {chosen.source!r} has changed since this run started. Restore the model that the run "
                "began with, then start it again."
            )
        training = self.config.training
        return load(
            chosen,
            self.distributed,
            training.mixed_precision,
            self.base.digest,
            exact=exact,
            quantization=training.quantization if quantized else "none",
        )

    @cached_property
    def trackers(self) -> Trackers:
        """Other programs that show losses, figures and pictures; none in other processes than the main one."""
        openers: dict[str, Callable[[], Tracker]] = {}
        monitoring, folder = self.config.monitoring, self.folder
        if monitoring.tensorboard:
            from dreambooth_trainer.monitoring.tensorboard import TensorBoard

            openers["monitoring.tensorboard"] = lambda: TensorBoard(folder.tensorboard)
        if wandb := monitoring.wandb:
            from dreambooth_trainer.monitoring.weights_and_biases import WeightsAndBiases

            settings = self.config.model_dump(mode="json", by_alias=True, exclude_none=True)
            openers["monitoring.wandb"] = lambda: WeightsAndBiases(wandb, folder.root, settings)
        return Trackers(openers if self.distributed.is_main else {}, self._warn)

    def _warn(self, warning: str) -> None:
        self.progress.update(warnings=[*self.progress.snapshot().warnings, warning])

    @cached_property
    def resolution(self) -> int:
        """Side in pixels of square training pictures. Known for the whole run, also while no model is loaded."""
        return self.config.training.resolution or self.model.resolution

    @property
    def precision(self) -> str:
        """Number format of the denoiser's arithmetic, and of its weights if they are quantized: `bfloat16`,
        `bfloat16 nf4`. Pictures depend on it."""
        training = self.config.training
        arithmetic = str(self.distributed.precision(training.mixed_precision)).removeprefix("torch.")
        return arithmetic if training.quantization == "none" else f"{arithmetic} {training.quantization}"

    def free_model(self) -> None:
        """Frees the base model, if it is loaded. The next access to `model` loads it again."""
        self.__dict__.pop("model", None)
        self.distributed.release_memory()

    def hand_over_model(self, *, exact: bool, quantized: bool = True) -> "ModelFamily":
        """Hands over the base model to a caller that changes it. The next access to `model` loads the base model
        again.

        Args:
            exact: whether the denoiser's weights have to be float32. If `model` has rounded ones, it is freed first.
            quantized: whether weights are quantized as `training.quantization` says. If they must not be, and `model` has
                such ones, it is freed first.
        """
        import torch

        training = self.config.training
        rounded = self.distributed.precision(training.mixed_precision) != torch.float32
        fits = not (exact and rounded) and (quantized or training.quantization == "none")
        loaded: ModelFamily | None = self.__dict__.pop("model", None)
        if loaded is not None and fits:
            return loaded
        del loaded
        self.free_model()
        return self._load(exact=exact, quantized=quantized)

    @property
    def words(self) -> list[Words]:
        """The words of each subject."""
        return words_of_subjects(self.config, self.identifiers)

    def fill(self, prompts: Iterable[str]) -> list[str]:
        """Prompts of the manifest with the words of the subjects filled in; see `fill_for_each`."""
        return [text for prompt in prompts for text in fill_for_each(prompt, self.words)]


def words_of_subjects(config: TrainConfig, identifiers: Sequence[str]) -> list[Words]:
    """The words of each subject.

    Args:
        config: the settings.
        identifiers: one for each subject.
    """
    subjects = config.all_subjects.values()
    return [Words(word, one.class_, one.called) for word, one in zip(identifiers, subjects, strict=True)]


def default_cache() -> Path | None:
    """The user's cache folder (XDG base directory specification); None for a user without a home directory."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "dreambooth"
    try:
        return Path.home() / ".cache" / "dreambooth"
    except RuntimeError:
        return None
