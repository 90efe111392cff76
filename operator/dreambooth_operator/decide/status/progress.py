"""Computes the progress in the status from the progress that trainers report. Values are bounded, and rounded so that
insignificant changes cause no status updates."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from dreambooth_api.progress import LONGEST_WARNING, Snapshot
from dreambooth_api.scene import Scene
from dreambooth_api.status import ClassImages, Pictures, SceneProgress, TrainerProgress, TrainingProgress
from dreambooth_api.training import TrainConfig
from dreambooth_operator.decide.status.termination_message import TerminationMessage, count, rounded, text

MEMORY_STEP = 64 * 2**20
"""Memory is rounded to multiples of this number of bytes."""
ETA_STEPS = ((120, 5), (1800, 30), (7200, 60))
"""(bound, step) in seconds: an ETA below a bound is rounded to multiples of its step; a longer one to ten minutes."""


_MOMENTARY = "eta_seconds", "steps_per_second"
"""Fields that only a trainer that runs has."""

P = TypeVar("P", TrainingProgress, SceneProgress)
S = TypeVar("S", TrainConfig, Scene)


@dataclass(frozen=True)
class Reporter(Generic[P, S]):
    """How the progress of a kind of workload follows from the previous one."""

    none: P
    """The progress before the first report."""
    read: Callable[[P, Snapshot, S], P]
    """The progress that the trainer reports."""
    last: Callable[[S], dict[str, Any]]
    """The fields of a complete workload that follow from its spec."""

    def reported(self, before: P | None, snapshot: Snapshot, spec: S) -> P:
        """The progress after a report of the trainer."""
        known = before or self.none
        progress = self.read(known, snapshot, spec)
        # Reports that are equal except for their time cause no update.
        return known if progress.model_copy(update={"updated_at": known.updated_at}) == known else progress

    def stopped(self, before: P | None, termination: TerminationMessage | None) -> P | None:
        """The progress while no trainer runs: the step is that of the termination message, and ETA and speed are removed."""
        if before is None and termination is None:
            return None
        known = before or self.none
        step = termination.step if termination and termination.step is not None else known.step
        momentary = {name: None for name in _MOMENTARY if name in type(known).model_fields}
        return known.model_copy(update={"step": step, **momentary})

    def completed(self, before: P | None, termination: TerminationMessage | None, spec: S) -> P:
        """The progress of a complete workload."""
        known = self.stopped(before, termination) or self.none
        identifier = text(termination.result.get("identifier")) if termination else None
        warnings = list(termination.warnings) if termination else []
        update = {
            "percent": 100,
            "identifier": identifier or known.identifier,
            "warnings": warnings or known.warnings,
            **self.last(spec),
        }
        return known.model_copy(update=update)


def _training(known: TrainingProgress, snapshot: Snapshot, spec: TrainConfig) -> TrainingProgress:
    images = snapshot.class_images
    return TrainingProgress(
        **_common(known, snapshot),
        step=min(count(snapshot.step) or 0, spec.training.steps),
        total_steps=spec.training.steps,
        checkpoint_step=count(snapshot.checkpoint_step) or known.checkpoint_step,
        loss=rounded(snapshot.loss),
        prior_loss=rounded(snapshot.prior_loss),
        steps_per_second=rounded(snapshot.steps_per_second, 2),
        class_images=ClassImages(done=min(count(images.done) or 0, spec.class_images), total=spec.class_images)
        if spec.prior.enabled
        else None,
    )


def _scene(known: SceneProgress, snapshot: Snapshot, spec: Scene) -> SceneProgress:
    generated = next((one for one in snapshot.phases if one.name == "generate" and one.total is not None), None)
    pictures = generated and Pictures(done=min(count(generated.done) or 0, spec.pictures), total=spec.pictures)
    return SceneProgress(
        **_common(known, snapshot), step=count(snapshot.step) or 0, pictures=pictures or known.pictures
    )


def _all_steps(spec: TrainConfig) -> dict[str, Any]:
    return {"step": spec.training.steps, "total_steps": spec.training.steps}


def _all_pictures(spec: Scene) -> dict[str, Any]:
    return {"pictures": Pictures(done=spec.pictures, total=spec.pictures)}


TRAINING = Reporter(TrainingProgress(), _training, _all_steps)
SCENE = Reporter(SceneProgress(), _scene, _all_pictures)


def _common(known: TrainerProgress, snapshot: Snapshot) -> dict[str, Any]:
    """The fields of both kinds of progress, except the step."""
    return {
        "phase": snapshot.phase,
        "percent": max(known.percent, min(int(rounded(snapshot.percent) or 0), 99)),
        "eta_seconds": _eta(snapshot.eta_seconds),
        "identifier": text(snapshot.identifier) or known.identifier,
        "warnings": [line for one in snapshot.warnings if (line := text(one, LONGEST_WARNING))] or known.warnings,
        "device": text(snapshot.device) or known.device,
        "memory_bytes": _memory(snapshot.memory_bytes),
        "device_memory_bytes": _memory(snapshot.device_memory_bytes),
        "updated_at": _moment(snapshot.updated_at),
    }


def _eta(seconds: Any) -> int | None:
    known = rounded(seconds, 15)
    if known is None or known < 0:
        return None
    step = next((step for bound, step in ETA_STEPS if known < bound), 600)
    return min(round(known / step), 10**7) * step


def _moment(value: datetime) -> datetime | None:
    """A timestamp in whole seconds; None if its year is implausible."""
    if not 2000 <= value.year < 9000:
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


def _memory(value: Any) -> int | None:
    known = count(value)
    return None if known is None else max(1, round(known / MEMORY_STEP)) * MEMORY_STEP
