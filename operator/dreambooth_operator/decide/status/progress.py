"""Computes the progress in the status from the progress that trainers report. Values are bounded, and rounded so that
insignificant changes cause no status updates."""

from datetime import UTC, datetime
from typing import Any

from dreambooth_api.job import DreamBoothJobSpec
from dreambooth_api.progress import LONGEST_WARNING, Snapshot
from dreambooth_api.status import ClassImages, TrainingProgress
from dreambooth_operator.decide.status.termination_message import TerminationMessage, count, rounded, text

MEMORY_STEP = 64 * 2**20
"""Memory is rounded to multiples of this number of bytes."""
ETA_STEPS = ((120, 5), (1800, 30), (7200, 60))
"""(bound, step) in seconds: an ETA below a bound is rounded to multiples of its step; a longer one to ten minutes."""


def reported(before: TrainingProgress | None, snapshot: Snapshot, spec: DreamBoothJobSpec) -> TrainingProgress:
    """The progress after a report of the trainer."""
    known = before or TrainingProgress()
    images = snapshot.class_images
    progress = TrainingProgress(
        phase=snapshot.phase,
        step=min(count(snapshot.step) or 0, spec.training.steps),
        total_steps=spec.training.steps,
        percent=max(known.percent, min(int(rounded(snapshot.percent) or 0), 99)),
        loss=rounded(snapshot.loss),
        prior_loss=rounded(snapshot.prior_loss),
        steps_per_second=rounded(snapshot.steps_per_second, 2),
        eta_seconds=_eta(snapshot.eta_seconds),
        class_images=ClassImages(done=min(count(images.done) or 0, spec.prior.images), total=spec.prior.images)
        if spec.prior.enabled
        else None,
        identifier=text(snapshot.identifier) or known.identifier,
        warnings=[line for one in snapshot.warnings if (line := text(one, LONGEST_WARNING))] or known.warnings,
        device=text(snapshot.device) or known.device,
        memory_bytes=_memory(snapshot.memory_bytes),
        device_memory_bytes=_memory(snapshot.device_memory_bytes),
        updated_at=_moment(snapshot.updated_at),
    )
    return known if _same(progress, known) else progress


def stopped(before: TrainingProgress | None, termination: TerminationMessage | None) -> TrainingProgress | None:
    """The progress while no trainer runs: the step is that of the termination message, and ETA and speed are removed."""
    if before is None and termination is None:
        return None
    known = before or TrainingProgress()
    step = termination.step if termination and termination.step is not None else known.step
    return known.model_copy(update={"step": step, "eta_seconds": None, "steps_per_second": None})


def completed(
    before: TrainingProgress | None, termination: TerminationMessage | None, spec: DreamBoothJobSpec
) -> TrainingProgress:
    """The progress of a complete run."""
    known = stopped(before, termination) or TrainingProgress()
    identifier = text(termination.result.get("identifier")) if termination else None
    warnings = list(termination.warnings) if termination else []
    steps = spec.training.steps
    update = {
        "percent": 100,
        "step": steps,
        "total_steps": steps,
        "identifier": identifier or known.identifier,
        "warnings": warnings or known.warnings,
    }
    return known.model_copy(update=update)


def _same(one: TrainingProgress, other: TrainingProgress) -> bool:
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
