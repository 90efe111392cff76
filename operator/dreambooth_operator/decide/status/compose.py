"""The whole status, from the status before and what was decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from dreambooth_api.job import DreamBoothJob
from dreambooth_api.progress import Snapshot
from dreambooth_api.sections import Resources
from dreambooth_api.status import Attempt, DreamBoothJobStatus, TrainingProgress
from dreambooth_operator.decide.builders.volumes import output_claim, output_path
from dreambooth_operator.decide.status import progress
from dreambooth_operator.decide.status.conditions import conditions_of
from dreambooth_operator.decide.status.gpu_time import gpu_time
from dreambooth_operator.decide.status.reasons import COMPLETE, TRAINS, Finding
from dreambooth_operator.decide.status.result import result_of
from dreambooth_operator.decide.status.termination_message import LastWord
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import earliest, generation_of


@dataclass(frozen=True)
class News:
    """What a status is made of, beside the one before."""

    owner: Object
    """The DreamBoothJob as it stands in the API server."""
    job: DreamBoothJob | None
    """The same, read; None where its spec is unsound."""
    finding: Finding
    """Where it stands."""
    attempts: Sequence[Attempt]
    """The record of its attempts."""
    runtime: str | None
    """The runtime of the last attempt."""
    failures: int
    """Failures in it that count."""
    suspended_seconds: int
    """How long it was suspended after its start."""
    last_word: LastWord | None
    """What the trainer said at an end that is new."""
    pods: Sequence[Object]
    """Its pods."""
    snapshot: Snapshot | None
    """What its trainer told last."""
    now: datetime
    """The time."""


def composed(before: DreamBoothJobStatus, news: News) -> DreamBoothJobStatus:
    """The new status; the old one where there is no news."""
    finding, job = news.finding, news.job
    generation = generation_of(news.owner)
    attempts = _closed(news) if finding.phase == "Failed" else list(news.attempts)
    finished = finding.phase in ("Complete", "Failed")
    held = gpu_time(before, news.pods, gpus_of(news.owner), news.now)
    complete = job is not None and finding.word == COMPLETE.word
    return DreamBoothJobStatus(
        observed_generation=generation,
        phase=finding.phase,
        message=finding.message,
        runtime=news.runtime,
        conditions=conditions_of(
            before.conditions, finding, accepted=job is not None, generation=generation, now=news.now
        ),
        start_time=before.start_time or earliest(attempt.start_time for attempt in attempts),
        completion_time=_ended_at(before, attempts, news.now) if finished else None,
        suspended_seconds=news.suspended_seconds,
        progress=_progress(before.progress, news),
        attempts=attempts,
        failures=news.failures,
        gpu_seconds=held.seconds,
        gpus_held_since=held.since,
        result=result_of(output_claim(job), output_path(job), news.last_word) if job and complete else None,
    )


def metered(before: DreamBoothJobStatus, owner: Object, pods: Sequence[Object], now: datetime) -> DreamBoothJobStatus:
    """The status of a job that has ended while pods that were told to stop still hold GPUs."""
    held = gpu_time(before, pods, gpus_of(owner), now)
    return before.model_copy(update={"gpu_seconds": held.seconds, "gpus_held_since": held.since})


def dumped(status: DreamBoothJobStatus) -> Mapping[str, Any]:
    """A status as JSON."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def gpus_of(owner: Object) -> int:
    """GPUs of all pods of an attempt; they are held also by a job whose spec has other faults."""
    spec = owner.get("spec")
    try:
        asked = Resources.model_validate(spec.get("resources", {}) if isinstance(spec, Mapping) else {})
    except ValidationError:
        return 0
    return asked.nodes * asked.gpus_per_node


def _closed(news: News) -> list[Attempt]:
    """The record of a failed job, whose last attempt has ended with it if it had not before."""
    if not news.attempts or news.attempts[-1].completion_time is not None:
        return list(news.attempts)
    end = {"completion_time": news.now, "reason": news.finding.word, "message": news.finding.message}
    return [*news.attempts[:-1], news.attempts[-1].model_copy(update=end)]


def _ended_at(before: DreamBoothJobStatus, attempts: Sequence[Attempt], now: datetime) -> datetime:
    """When a job ended: with its last attempt, or now if that one's end, maybe long ago, was not the end of the job."""
    known = {attempt.number for attempt in before.attempts if attempt.completion_time}
    new = attempts[-1].completion_time if attempts and attempts[-1].number not in known else None
    return new or now


def _progress(before: TrainingProgress | None, news: News) -> TrainingProgress | None:
    if news.job is None:
        return progress.stopped(before, None)
    if news.finding.word == COMPLETE.word:
        return progress.completed(before, news.last_word, news.job.spec)
    if news.finding.word not in TRAINS:
        return progress.stopped(before, news.last_word)
    return progress.told(before, news.snapshot, news.job.spec) if news.snapshot else before
