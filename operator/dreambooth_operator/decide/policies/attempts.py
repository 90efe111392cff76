"""Attempts: what became of each, and whether and when the next one begins.

An attempt is one Job. Its number is part of the Job's name, so that an operator that was killed between two writes finds what it
has made already. What is recorded of an attempt stays; what is not yet recorded is read off its Job again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dreambooth_api.status import Attempt
from dreambooth_operator.decide.status.endings import INTERRUPTED, Ending, ending_of
from dreambooth_operator.decide.status.reasons import RETRIES_USED_UP, Finding, failed, sentence
from dreambooth_operator.decide.status.termination_message import COMPLETED, INTERNAL_ERROR, LastWord
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import attempt_of, earliest, is_controlled_by, pod_started_at, uid_of

KEPT = 10
"""Attempts whose records and Jobs are kept."""
FIRST_DELAY, LONGEST_DELAY = 10.0, 300.0
"""Seconds between a failure that counts and the next attempt: the first time, and at most."""
NOT_MENDED = {"InvalidConfig", "InvalidData", "OutOfMemory", "NonFiniteLoss"}
"""Classes of failure that would only come again."""
GONE = "JobGone"


class Followed(NamedTuple):
    """The record of all attempts, up to date."""

    attempts: list[Attempt]
    """The last ones, at most `KEPT`."""
    failures: int
    """Failures that count, over all attempts."""
    last_word: LastWord | None
    """What the trainer said at an end that is new in the record."""

    @property
    def start_time(self) -> datetime | None:
        """When the first pod of all started, as far as the record goes back."""
        return earliest(attempt.start_time for attempt in self.attempts)


def follow(
    before: Sequence[Attempt], failures: int, jobs: Sequence[Object], pods: Sequence[Object], now: datetime
) -> Followed:
    """Brings the record of the attempts up to what is observed.

    Args:
        before: the record so far.
        failures: failures in it that count.
        jobs: the Jobs of this DreamBoothJob.
        pods: the pods of those Jobs.
        now: end of attempts whose Jobs are gone.
    """
    by_number = {number: job for job in jobs if (number := attempt_of(job)) is not None}
    record = {attempt.number: attempt for attempt in before}
    oldest, newest = min(record, default=0), max([*record, *by_number], default=-1)
    # Whatever the status says: each failure on record counts, and of those before at most all did.
    recorded = sum(attempt.completion_time is not None and counts(attempt) for attempt in record.values())
    failures = min(max(failures, recorded), recorded + oldest)
    word = None
    for number in sorted({*record, *by_number}):
        known = record.get(number)
        if number < oldest:
            continue  # forgotten: an old Job that still exists
        attempt = known or Attempt(number=number, job_name=by_number[number]["metadata"]["name"])
        if attempt.completion_time is None:
            attempt, ending = _followed(attempt, by_number.get(number), pods, superseded=number < newest, now=now)
            failures += ending is not None and counts(attempt)
            word = ending.word if ending else word
        record[number] = attempt
    return Followed([record[number] for number in sorted(record)][-KEPT:], failures, word)


def _followed(
    attempt: Attempt, job: Object | None, pods: Sequence[Object], *, superseded: bool, now: datetime
) -> tuple[Attempt, Ending | None]:
    """An attempt that had not ended, and its end if it has by now."""
    if job is None:
        gone = Ending(GONE, "Its Job was deleted.", now, disruption=True) if superseded else None
        return (_ended(attempt, gone, now), gone) if gone else (attempt, None)
    own = [pod for pod in pods if is_controlled_by(pod, uid_of(job))]
    attempt = attempt.model_copy(update={"start_time": attempt.start_time or earliest(map(pod_started_at, own))})
    ending = ending_of(job, own)
    return (_ended(attempt, ending, now), ending) if ending else (attempt, None)


def _ended(attempt: Attempt, ending: Ending, now: datetime) -> Attempt:
    return attempt.model_copy(
        update={
            "completion_time": ending.time or now,
            "reason": ending.reason,
            "message": ending.message or None,
            "exit_code": ending.exit_code,
            "disruption": ending.disruption,
        }
    )


def begun(attempts: Sequence[Attempt], job: str) -> list[Attempt]:
    """The record with the attempt that shall run now: the last one if it has not ended (its Job is gone), else a new one."""
    if attempts and attempts[-1].completion_time is None:
        return list(attempts)
    number = attempts[-1].number + 1 if attempts else 0
    return [*attempts, Attempt(number=number, job_name=names.attempt(job, number))][-KEPT:]


def counts(attempt: Attempt) -> bool:
    """Whether `retries` counts the end of an attempt."""
    return attempt.reason not in (COMPLETED, INTERRUPTED) and not attempt.disruption


def is_final(attempt: Attempt, failures: int, retries: int) -> bool:
    """Whether a failed attempt is the last one."""
    return attempt.reason in NOT_MENDED or (counts(attempt) and failures > retries)


def verdict(attempt: Attempt, failures: int, retries: int) -> Finding:
    """The end of the job by the end of its last attempt."""
    message = attempt.message or ""
    if attempt.reason not in NOT_MENDED:
        message = RETRIES_USED_UP.format(detail=sentence(message), failures=failures, retries=retries)
    return failed(attempt.reason or INTERNAL_ERROR, message)


def next_start(attempt: Attempt, failures: int) -> datetime | None:
    """When the attempt after a failed one begins: at once after a disruption, else ever later. None: no reason to wait."""
    if attempt.completion_time is None or not counts(attempt):
        return None
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 10))
    return attempt.completion_time + timedelta(seconds=delay)


def outlived(jobs: Sequence[Object], attempts: Sequence[Attempt]) -> list[Object]:
    """Jobs of attempts that the record has forgotten."""
    numbers = ((job, attempt_of(job)) for job in jobs)
    return [job for job, number in numbers if attempts and number is not None and number < attempts[0].number]
