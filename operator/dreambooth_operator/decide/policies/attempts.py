"""Records how attempts ended, and decides whether and when the next one starts.

An attempt is one Job. Its number is part of the name of the Job, so an operator that was killed between two writes finds the Job
that it has created. Recorded results of an attempt never change; missing ones are read from its Job.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.status import Attempt
from dreambooth_operator.decide.status.endings import INTERRUPTED, Ending, ending_of
from dreambooth_operator.decide.status.reasons import RETRIES_USED_UP, Finding, clean, failed, sentence
from dreambooth_operator.decide.status.termination_message import COMPLETED, INTERNAL_ERROR, TerminationMessage
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import attempt_of, earliest, is_controlled_by, pod_started_at, uid_of

KEPT = 10
"""Number of attempts whose records and Jobs are kept."""
FIRST_DELAY, LONGEST_DELAY = 10.0, 300.0
"""Seconds between a failed attempt and the next one: the first delay, and the longest one."""
STABLE = timedelta(minutes=10)
"""An attempt that ran for so long before its disruption is not considered one of a series of disruptions."""
NOT_RETRIED = {"InvalidConfig", "InvalidData", "OutOfMemory", "NonFiniteLoss", "UploadRefused"}
"""Classes of failure that a retry can't resolve."""
GONE = "JobGone"


class History(NamedTuple):
    """The records of the attempts."""

    attempts: list[Attempt]
    """The last attempts, at most `KEPT`."""
    failures: int
    """Number of counted failures over all attempts."""
    termination_message: TerminationMessage | None
    """Termination message of the trainer, if an attempt has ended since the last update."""

    @property
    def start_time(self) -> datetime | None:
        """Start of the first pod of the recorded attempts."""
        return earliest(attempt.start_time for attempt in self.attempts)


def update_history(
    before: Sequence[Attempt], failures: int, jobs: Sequence[Object], pods: Sequence[Object], now: datetime
) -> History:
    """Updates the records of the attempts from their Jobs and pods.

    Args:
        before: the records so far.
        failures: the number of counted failures so far.
        jobs: the Jobs of this workload.
        pods: the pods of these Jobs.
        now: the time, which becomes the end of attempts whose Jobs were deleted.
    """
    by_number = {number: job for job in jobs if (number := attempt_of(job)) is not None}
    record = {attempt.number: attempt for attempt in before}
    oldest, newest = min(record, default=0), max([*record, *by_number], default=-1)
    # The status may be wrong. At least the recorded failures count, and at most all attempts before the records failed as well.
    recorded = sum(attempt.completion_time is not None and counts(attempt) for attempt in record.values())
    failures = min(max(failures, recorded), recorded + oldest)
    termination_message = None
    for number in sorted({*record, *by_number}):
        known = record.get(number)
        if number < oldest:
            continue  # a pruned attempt whose Job still exists
        attempt = known or Attempt(number=number, job_name=by_number[number]["metadata"]["name"])
        if attempt.completion_time is None:
            attempt, ending = _updated(attempt, by_number.get(number), pods, superseded=number < newest, now=now)
            failures += ending is not None and counts(attempt)
            termination_message = ending.termination_message if ending else termination_message
        record[number] = attempt
    return History([record[number] for number in sorted(record)][-KEPT:], failures, termination_message)


def _updated(
    attempt: Attempt, job: Object | None, pods: Sequence[Object], *, superseded: bool, now: datetime
) -> tuple[Attempt, Ending | None]:
    """Updates an attempt without a recorded end; returns the end if it has ended now."""
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
            "message": clean(ending.message) or None,
            "exit_code": ending.exit_code,
            "disruption": ending.disruption,
        }
    )


def with_current_attempt(attempts: Sequence[Attempt], workload: Workload) -> list[Attempt]:
    """The records with the attempt to run: the last one if it has not ended (its Job was deleted), else a new one."""
    if attempts and attempts[-1].completion_time is None:
        return list(attempts)
    number = attempts[-1].number + 1 if attempts else 0
    return [*attempts, Attempt(number=number, job_name=names.attempt(workload, number))][-KEPT:]


def counts(attempt: Attempt) -> bool:
    """Whether the end of an attempt counts as a failure for `retries`."""
    return attempt.reason not in (COMPLETED, INTERRUPTED) and not attempt.disruption


def is_final(attempt: Attempt, failures: int, retries: int) -> bool:
    """Whether no attempt follows a failed one."""
    return attempt.reason in NOT_RETRIED or (counts(attempt) and failures > retries)


def final_failure(attempt: Attempt, failures: int, retries: int) -> Finding:
    """The finding that a workload failed, with the failure of its last attempt."""
    message = attempt.message or ""
    if attempt.reason not in NOT_RETRIED:
        message = RETRIES_USED_UP.format(detail=sentence(message), failures=failures, retries=retries)
    return failed(attempt.reason or INTERNAL_ERROR, message)


def disruptions_in_a_row(attempts: Sequence[Attempt]) -> int:
    """Number of the last attempts that were disrupted soon after their start; at least 1."""
    series = itertools.takewhile(lambda one: not counts(one) and _duration(one) < STABLE, reversed(attempts))
    return max(1, sum(1 for _ in series))


def next_start(attempt: Attempt, failures: int, disruptions: int = 1) -> datetime | None:
    """Start of the next attempt, with exponential back-off; None: at once, as after a single disruption.

    Args:
        attempt: the last attempt.
        failures: number of counted failures.
        disruptions: number of disruptions in a row.
    """
    earlier = failures - 1 if counts(attempt) else disruptions - 2
    if attempt.completion_time is None or earlier < 0:
        return None
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(earlier, 10))
    return attempt.completion_time + timedelta(seconds=delay)


def _duration(attempt: Attempt) -> timedelta:
    if attempt.start_time is None or attempt.completion_time is None:
        return timedelta()
    return attempt.completion_time - attempt.start_time


def pruned_jobs(jobs: Sequence[Object], attempts: Sequence[Attempt]) -> list[Object]:
    """Jobs of attempts whose records have been pruned."""
    numbers = ((job, attempt_of(job)) for job in jobs)
    return [job for job, number in numbers if attempts and number is not None and number < attempts[0].number]
