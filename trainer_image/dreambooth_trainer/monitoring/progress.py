"""The progress of a run: reported by the phases, read by the console, `/progress` and `/metrics`.

Does not import torch, so that the command line starts quickly.
"""

import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dreambooth_api.printing import one_line
from dreambooth_api.progress import (
    LONGEST_WARNING,
    MOST_WARNINGS,
    PHASES,
    SCENE_PHASES,
    Count,
    Event,
    Observer,
    PhaseName,
    PhaseProgress,
    PhaseState,
    Snapshot,
)

__all__ = ["PHASES", "Progress", "RunningPhase", "Snapshot"]

TRAINING: Mapping[PhaseName, int] = {
    "prepare": 1,
    "prior": 25,
    "cache": 2,
    "train": 50,
    "choose": 3,
    "export": 2,
    "sample": 5,
    "evaluate": 9,
    "upload": 3,
}
"""The phases of a training, each with its usual share in the time of a run in percent."""

SCENE: Mapping[PhaseName, int] = {"load": 10, "generate": 90}
"""The same of a scene."""

_WINDOW = 50
"""Number of advances over which a rate is averaged."""


@dataclass
class _Phase:
    """The progress of one phase."""

    name: PhaseName
    state: PhaseState = "pending"
    done: int = 0
    total: int | None = None
    unit: str = ""
    started: float = 0.0
    seconds: float = 0.0
    memory: int = 0
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_WINDOW + 1))
    """(time, done) at the start and after each advance; only the newest ones."""

    @property
    def fraction(self) -> float:
        if self.state in ("done", "skipped"):
            return 1.0
        return min(self.done / self.total, 1.0) if self.total else 0.0

    @property
    def rate(self) -> float | None:
        """Units a second; None unless the phase runs and has advanced."""
        if self.state != "running":
            return None
        (first, before), (last, after) = self.marks[0], self.marks[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    @property
    def eta(self) -> float | None:
        if self.total is None or not (rate := self.rate):
            return None
        return max(self.total - self.done, 0) / rate

    def progress(self, now: float) -> PhaseProgress:
        return PhaseProgress(
            name=self.name,
            state=self.state,
            done=self.done,
            total=self.total,
            unit=self.unit,
            seconds=now - self.started if self.state == "running" else self.seconds,
        )


class RunningPhase:
    """Reports finished units of a phase; passed to the body of the phase."""

    def __init__(self, progress: "Progress", name: PhaseName) -> None:
        self._progress = progress
        self._name = name

    def advance(
        self,
        count: int = 1,
        *,
        loss: float | None = None,
        prior_loss: float | None = None,
        learning_rate: float | None = None,
        grad_norm: float | None = None,
        training_images: int = 0,
        class_images_generated: int = 0,
    ) -> None:
        """Reports `count` more units as finished.

        Args:
            count: number of units.
            loss: loss of the last unit, if the units are training steps. This also applies to the next three arguments.
            prior_loss: loss on the class images, unweighted.
            learning_rate: learning rate of the denoiser.
            grad_norm: norm of the gradients before clipping.
            training_images: photos and class images of these steps.
            class_images_generated: generated class images, without those from the cache.
        """
        figures = {"loss": loss, "prior_loss": prior_loss, "learning_rate": learning_rate, "grad_norm": grad_norm}
        known = {key: value for key, value in figures.items() if value is not None}
        self._progress._advance(self._name, count, known, training_images, class_images_generated)


class Progress:
    """The progress of a run. All methods are safe to call from any thread.

    Args:
        observers: called for every event, outside the lock, so that a slow console doesn't block `/progress`.
        shares: the phases in their order, with the share of each in percent.
        clock: a monotonic clock, in seconds.
        now: date and time, with the time zone.
    """

    def __init__(
        self,
        observers: Sequence[Observer] = (),
        shares: Mapping[PhaseName, int] = TRAINING,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._observers = list(observers)
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._shares = shares
        self._phases: dict[PhaseName, _Phase] = {name: _Phase(name) for name in (*PHASES, *SCENE_PHASES)}
        self._current: PhaseName | None = None
        self._figures: dict[str, float] = {}
        self._training_images = self._class_images_generated = 0
        self._identifier: str | None = None
        self._warnings: list[str] = []
        self._device: str | None = None
        self._checkpoint_step: int | None = None
        self._percent = 0.0
        self._device_peak = 0
        self._started_at = self._updated_at = now()
        self._touched = clock()

    @contextmanager
    def phase(self, name: PhaseName, total: int | None = None, unit: str = "", done: int = 0) -> Iterator[RunningPhase]:
        """Runs a phase: `done` when the block ends, `failed` when it raises.

        Args:
            name: one of the phases.
            total: units of the whole phase; None if nothing is counted or `update` has set it.
            unit: name of the units in the plural.
            done: units that an earlier start finished. They count for the percentage, not for the speed.
        """
        with self._change():
            self._device_peak = max(self._device_peak, _device_bytes() or 0)
            _reset_device_peak()
            now = self._clock()
            total = self._phases[name].total if total is None else total
            phase = _Phase(name, "running", done, total, unit, started=now, memory=_used_bytes())
            phase.marks.append((now, done))
            self._phases[name] = phase
            self._current = name
        self._notify("start")
        try:
            yield RunningPhase(self, name)
        except BaseException:
            self._end(name, "failed")
            raise
        self._end(name, "done")

    def skip(self, name: PhaseName) -> None:
        """Marks a phase as skipped: its output exists already, or the manifest disables it."""
        with self._change():
            phase = self._phases[name]
            phase.state, phase.done = "skipped", phase.total or 0
            self._current = name
        self._notify("end")

    def update(
        self,
        *,
        identifier: str | None = None,
        warnings: Sequence[str] = (),
        device: str | None = None,
        step: int | None = None,
        total_steps: int | None = None,
        class_images: int | None = None,
        checkpoint_step: int | None = None,
    ) -> None:
        """Records facts when they become known. Without arguments, it only reports that the run is alive.

        Args:
            identifier: the word that means the subject.
            warnings: warnings about the figures, photos, identifier and prompts.
            device: the device that computes.
            step: for a scene, the step of its weights.
            total_steps: steps of the training.
            class_images: class images that the training needs.
            checkpoint_step: step of the newest checkpoint.
        """
        with self._change():
            self._identifier = identifier or self._identifier
            self._warnings = [_shortened(one) for one in warnings[:MOST_WARNINGS]] or self._warnings
            self._device = device or self._device
            self._phases["train"].done = step or self._phases["train"].done
            self._phases["train"].total = total_steps or self._phases["train"].total
            self._phases["prior"].total = class_images or self._phases["prior"].total
            self._checkpoint_step = checkpoint_step or self._checkpoint_step

    def observe(self, observer: Observer) -> None:
        """Adds an observer for all future events."""
        self._observers.append(observer)

    def idle_seconds(self) -> float:
        """Seconds since the run last reported anything."""
        with self._lock:
            return self._clock() - self._touched

    def memory(self) -> dict[PhaseName, int]:
        """For each phase that has ended, the most bytes that this process had allocated on its GPU, or without a GPU its largest
        resident memory at the beginning, after units, and at the end."""
        with self._lock:
            return {name: phase.memory for name, phase in self._phases.items() if phase.state == "done"}

    def snapshot(self) -> Snapshot:
        """The present progress of the run."""
        memory, of_phase = _resident_bytes(), _device_bytes()
        with self._lock:
            device_memory = None if of_phase is None else max(of_phase, self._device_peak)
            now = self._clock()
            train, prior = self._phases["train"], self._phases["prior"]
            return Snapshot(
                phase=self._current,
                phases=[self._phases[name].progress(now) for name in self._shares],
                step=train.done,
                total_steps=train.total,
                checkpoint_step=self._checkpoint_step,
                percent=self._percent,
                loss=self._figures.get("loss"),
                prior_loss=self._figures.get("prior_loss"),
                learning_rate=self._figures.get("learning_rate"),
                grad_norm=self._figures.get("grad_norm"),
                steps_per_second=train.rate,
                eta_seconds=self._phases[self._current].eta if self._current else None,
                training_images=self._training_images,
                class_images=Count(done=prior.done, total=prior.total),
                class_images_generated=self._class_images_generated,
                identifier=self._identifier,
                warnings=self._warnings,
                device=self._device,
                memory_bytes=memory,
                device_memory_bytes=device_memory,
                started_at=self._started_at,
                updated_at=self._updated_at,
            )

    def _advance(
        self, name: PhaseName, count: int, figures: dict[str, float], training_images: int, class_images_generated: int
    ) -> None:
        with self._change():
            phase = self._phases[name]
            # A GPU's allocator keeps its peak by itself.
            if _cuda() is None:
                phase.memory = max(phase.memory, _resident_bytes())
            phase.done += count
            phase.marks.append((self._clock(), phase.done))
            self._figures.update(figures)
            self._training_images += training_images
            self._class_images_generated += class_images_generated
        self._notify("advance")

    def _end(self, name: PhaseName, state: PhaseState) -> None:
        with self._change():
            phase = self._phases[name]
            phase.state, phase.seconds = state, self._clock() - phase.started
            phase.memory = max(phase.memory, _used_bytes())
        self._notify("end")

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock:
            yield
            self._touched, self._updated_at = self._clock(), self._now()
            percent = sum(share * self._phases[name].fraction for name, share in self._shares.items())
            self._percent = max(self._percent, percent)

    def _notify(self, event: Event) -> None:
        if self._observers:
            snapshot = self.snapshot()
            for observer in self._observers:
                observer(event, snapshot)


def _shortened(warning: str) -> str:
    line = one_line(warning)
    return line if len(line) <= LONGEST_WARNING else f"{line[: LONGEST_WARNING - 3]}..."


def _resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _used_bytes() -> int:
    """Peak of the GPU's memory since the phase began, or the resident memory without a GPU."""
    device_bytes = _device_bytes()
    return _resident_bytes() if device_bytes is None else device_bytes


def _device_bytes() -> int | None:
    """Peak of the CUDA allocator since its last reset; None without a GPU in use."""
    cuda = _cuda()
    return None if cuda is None else int(cuda.max_memory_allocated())


def _reset_device_peak() -> None:
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def _cuda() -> Any:
    """PyTorch's module for GPUs; None unless it is imported and has used the GPU, so that this never initialises CUDA."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None
