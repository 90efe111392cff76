"""Composes the status of a workload from the previous status and the decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.dreamboothscene import DreamBoothScene
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.progress import Snapshot
from dreambooth_api.sections import Resources
from dreambooth_api.status import Attempt, DreamBoothJobStatus, DreamBoothSceneStatus, WorkloadStatus
from dreambooth_operator.decide.status.conditions import conditions_of
from dreambooth_operator.decide.status.gpu_time import gpu_time
from dreambooth_operator.decide.status.progress import SCENE, TRAINING, P, Reporter, S
from dreambooth_operator.decide.status.reasons import COMPLETE, RUNS, Finding
from dreambooth_operator.decide.status.result import result_of_job, result_of_scene
from dreambooth_operator.decide.status.termination_message import TerminationMessage
from dreambooth_operator.objects.folders import Folder
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import earliest, generation_of

Status = DreamBoothJobStatus | DreamBoothSceneStatus
"""The status of a workload."""


@dataclass(frozen=True)
class StatusInput:
    """The input for a new status, except the previous status."""

    owner: Object
    """The workload as an object of the API server."""
    workload: Workload | None
    """The same, parsed; None if its spec is invalid."""
    output: Folder | None
    """Where its pods write; None if that is not known."""
    finding: Finding
    """The finding."""
    attempts: Sequence[Attempt]
    """The records of its attempts."""
    runtime: str | None
    """The runtime of the last attempt."""
    failures: int
    """Number of counted failures."""
    suspended_seconds: int
    """Duration of suspensions after the start."""
    termination_message: TerminationMessage | None
    """Termination message of the trainer, if an attempt has ended since the previous status."""
    pods: Sequence[Object]
    """Its pods."""
    snapshot: Snapshot | None
    """The latest progress that its trainer reported."""
    now: datetime
    """The time."""
    queued_seconds: int = 0
    """Time in the queue after the start."""
    queued_since: datetime | None = None
    """Start of the current wait in the queue."""
    objection: Finding | None = None
    """Why its spec is not accepted, if that is not the finding."""


def compose_status(before: Status, source: StatusInput) -> Status:
    """The new status; it equals the previous one if nothing changed."""
    finding, workload = source.finding, source.workload
    generation = generation_of(source.owner)
    attempts = _closed(source) if finding.phase == "Failed" else list(source.attempts)
    finished = finding.phase in ("Complete", "Failed")
    held = gpu_time(before, source.pods, gpus_of(source.owner), source.now)
    status: dict[str, Any] = dict(
        observed_generation=generation,
        phase=finding.phase,
        message=finding.message,
        runtime=source.runtime,
        conditions=conditions_of(
            before.conditions,
            finding,
            accepted=workload is not None and source.objection is None,
            generation=generation,
            now=source.now,
            objection=source.objection,
        ),
        start_time=before.start_time or earliest(attempt.start_time for attempt in attempts),
        completion_time=_ended_at(before, attempts, source.now) if finished else None,
        suspended_seconds=source.suspended_seconds,
        queued_seconds=source.queued_seconds or None,
        queued_since=None if finished else source.queued_since,
        attempts=attempts,
        failures=source.failures,
        gpu_seconds=held.seconds,
        gpus_held_since=held.since,
    )
    output = source.output if workload is not None and finding.reason == COMPLETE.reason else None
    if isinstance(before, DreamBoothSceneStatus):
        scene = workload.spec if isinstance(workload, DreamBoothScene) else None
        return DreamBoothSceneStatus(
            **status,
            progress=_progress(before.progress, source, scene, SCENE),
            result=output and result_of_scene(output, source.termination_message),
        )
    job = workload.spec if isinstance(workload, DreamBoothJob) else None
    return DreamBoothJobStatus(
        **status,
        progress=_progress(before.progress, source, job, TRAINING),
        result=output and result_of_job(output, source.termination_message),
    )


def with_gpu_time(before: Status, owner: Object, pods: Sequence[Object], now: datetime) -> Status:
    """The status with updated GPU time, for a finished workload whose pods are still terminating."""
    held = gpu_time(before, pods, gpus_of(owner), now)
    return before.model_copy(update={"gpu_seconds": held.seconds, "gpus_held_since": held.since})


def to_json(status: Status) -> Mapping[str, Any]:
    """The status as JSON."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def gpus_of(owner: Object) -> int:
    """Number of GPUs of all pods of an attempt. Reads the raw spec, as other fields may be invalid or unknown."""
    spec = owner.get("spec")
    given = spec.get("resources", {}) if isinstance(spec, Mapping) else {}
    known = {key: value for key, value in given.items() if key in _COUNTS} if isinstance(given, Mapping) else given
    try:
        resources = Resources.model_validate(known)
    except ValidationError:
        return 0
    return resources.nodes * resources.gpus_per_node


_COUNTS = "nodes", "gpusPerNode"


def _closed(source: StatusInput) -> list[Attempt]:
    """The records of a failed workload; if the last attempt has not ended, it ends now."""
    if not source.attempts or source.attempts[-1].completion_time is not None:
        return list(source.attempts)
    end = {"completion_time": source.now, "reason": source.finding.reason, "message": source.finding.message}
    return [*source.attempts[:-1], source.attempts[-1].model_copy(update=end)]


def _ended_at(before: WorkloadStatus, attempts: Sequence[Attempt], now: datetime) -> datetime:
    """Completion time of a workload: the end of its last attempt if that is new, else now."""
    known = {attempt.number for attempt in before.attempts if attempt.completion_time}
    new = attempts[-1].completion_time if attempts and attempts[-1].number not in known else None
    return new or now


def _progress(before: P | None, source: StatusInput, spec: S | None, reporter: Reporter[P, S]) -> P | None:
    """The progress.

    Args:
        before: the previous one.
        source: the input for the status.
        spec: the spec of the workload; None if it is invalid.
        reporter: how it changes.
    """
    message = source.termination_message
    if spec is None:
        return reporter.stopped(before, None)
    if source.finding.reason == COMPLETE.reason:
        return reporter.completed(before, message, spec)
    if source.finding.reason not in RUNS:
        return reporter.stopped(before, message)
    return reporter.reported(before, source.snapshot, spec) if source.snapshot else before
