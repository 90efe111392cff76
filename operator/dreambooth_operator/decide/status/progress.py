"""Computes the progress in the status from the progress that trainers report. Values are bounded, and rounded so that
insignificant changes cause no status updates."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from dreambooth_api.dreamboothscene import DreamBoothSceneSpec
from dreambooth_api.job import DreamBoothJobSpec
from dreambooth_api.progress import LONGEST_WARNING, Snapshot
from dreambooth_api.status import ClassImages, Pictures, SceneProgress, TrainerProgress, TrainingProgress
from dreambooth_operator.decide.status.termination_message import TerminationMessage, count, rounded, text

MEMORY_STEP = 64 * 2**20
"""Memory is rounded to multiples of this number of bytes."""
ETA_STEPS = ((120, 5), (1800, 30), (7200, 60))
"""(bound, step) in seconds: an ETA below a bound is rounded to multiples of its step; a longer one to ten minutes."""


P = TypeVar("P", TrainingProgress, SceneProgress)
S = TypeVar("S", DreamBoothJobSpec, DreamBoothSceneSpec)


@dataclass(frozen=True)
class Reporter(Generic[P, S]):
    """How the progress of a kind of workload follows from the previous one."""

    reported: Callable[[P | None, Snapshot, S], P]
    """After a report of the trainer."""
    stopped: Callable[[P | None, TerminationMessage | None], P | None]
    """While no trainer runs."""
    completed: Callable[[P | None, TerminationMessage | None, S], P]
    """At the end of a complete workload."""


def reported_training(before: TrainingProgress | None, snapshot: Snapshot, spec: DreamBoothJobSpec) -> TrainingProgress:
    """The progress of a training after a report of the trainer."""
    known = before or TrainingProgress()
    images = snapshot.class_images
    progress = TrainingProgress(
        **_common(known, snapshot),
        step=min(count(snapshot.step) or 0, spec.training.steps),
        total_steps=spec.training.steps,
        loss=rounded(snapshot.loss),
        prior_loss=rounded(snapshot.prior_loss),
        steps_per_second=rounded(snapshot.steps_per_second, 2),
        class_images=ClassImages(done=min(count(images.done) or 0, spec.prior.images), total=spec.prior.images)
        if spec.prior.enabled
        else None,
    )
    return known if _same(progress, known) else progress


def reported_scene(before: SceneProgress | None, snapshot: Snapshot, spec: DreamBoothSceneSpec) -> SceneProgress:
    """The progress of a scene after a report of the trainer."""
    known, total = before or SceneProgress(), spec.pictures
    generated = next((one for one in snapshot.phases if one.name == "generate"), None)
    begun = generated is not None and generated.total is not None
    progress = SceneProgress(
        **_common(known, snapshot),
        step=count(snapshot.step) or 0,
        pictures=Pictures(done=min(count(generated.done) or 0, total), total=total)
        if generated and begun
        else known.pictures,
    )
    return known if _same(progress, known) else progress


def stopped_training(
    before: TrainingProgress | None, termination: TerminationMessage | None
) -> TrainingProgress | None:
    """The progress while no trainer runs: the step is that of the termination message, and ETA and speed are removed."""
    if before is None and termination is None:
        return None
    known = before or TrainingProgress()
    return known.model_copy(update={"step": _step(known, termination), "eta_seconds": None, "steps_per_second": None})


def stopped_scene(before: SceneProgress | None, termination: TerminationMessage | None) -> SceneProgress | None:
    """The same for a scene."""
    if before is None and termination is None:
        return None
    known = before or SceneProgress()
    return known.model_copy(update={"step": _step(known, termination), "eta_seconds": None})


def completed_training(
    before: TrainingProgress | None, termination: TerminationMessage | None, spec: DreamBoothJobSpec
) -> TrainingProgress:
    """The progress of a complete training."""
    known, steps = stopped_training(before, termination) or TrainingProgress(), spec.training.steps
    return known.model_copy(update={**_ended(known, termination), "step": steps, "total_steps": steps})


def completed_scene(
    before: SceneProgress | None, termination: TerminationMessage | None, spec: DreamBoothSceneSpec
) -> SceneProgress:
    """The progress of a complete scene."""
    known, total = stopped_scene(before, termination) or SceneProgress(), spec.pictures
    pictures = Pictures(done=total, total=total)
    return known.model_copy(update={**_ended(known, termination), "pictures": pictures})


TRAINING = Reporter(reported_training, stopped_training, completed_training)
SCENE = Reporter(reported_scene, stopped_scene, completed_scene)


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


def _step(known: TrainerProgress, termination: TerminationMessage | None) -> int:
    return termination.step if termination and termination.step is not None else known.step


def _ended(known: TrainerProgress, termination: TerminationMessage | None) -> dict[str, Any]:
    identifier = text(termination.result.get("identifier")) if termination else None
    warnings = list(termination.warnings) if termination else []
    return {
        "percent": 100,
        "identifier": identifier or known.identifier,
        "warnings": warnings or known.warnings,
    }


def _same(one: TrainerProgress, other: TrainerProgress) -> bool:
    """Whether two reports are equal except for their time."""
    return one.model_copy(update={"updated_at": other.updated_at}) == other


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
