import json
from typing import Any

import pytest

from dreambooth_api.status import Attempt
from dreambooth_operator.decide.policies.attempts import (
    KEPT,
    counts,
    disruptions_in_a_row,
    final_failure,
    is_final,
    next_start,
    pruned_jobs,
    update_history,
    with_current_attempt,
)
from dreambooth_operator.decide.status.reasons import LENGTH
from tests.operator.pieces import at, failed_pod, holding, job, pod, read, running

FAILED, COMPLETE = holding("Failed", 60), holding("Complete", 60)
BROKEN = failed_pod(8, json.dumps({"reason": "CommunicationFailure", "message": "a peer died", "step": 7}))


def attempt(number: int = 0, reason: str | None = None, **more: Any) -> Attempt:
    end = {"completion_time": at(60), "reason": reason} if reason else {}
    return Attempt(number=number, job_name=f"dog-{number}", **end, **more)


def test_a_job_without_a_record_gets_one() -> None:
    followed = update_history([], 0, [job()], [pod("Running", running(), started=5)], at(100))
    assert followed == ([attempt(start_time=at(5))], 0, None)
    assert followed.start_time == at(5)


def test_a_recorded_start_does_not_change() -> None:
    known = attempt(start_time=at(1))
    assert update_history([known], 0, [job()], [pod(started=5)], at(100)).attempts == [known]


def test_the_end_of_a_job_is_recorded_with_the_termination_message() -> None:
    (found,), failures, word = update_history([attempt()], 0, [job(0, FAILED)], [BROKEN], at(100))
    assert (found.reason, found.message, found.exit_code) == ("CommunicationFailure", "a peer died", 8)
    assert (found.start_time, found.completion_time) == (at(0), at(60))
    assert failures == 1
    assert word is not None and word.step == 7


@pytest.mark.parametrize(
    "broken",
    [
        failed_pod(9, json.dumps({"reason": "Interrupted", "message": "m" * 4000})),
        failed_pod(137, "end of the log " * 300),
        pod("Failed", reason="Evicted", message="exceeds the limit " * 300),
    ],
)
def test_recorded_messages_are_bounded(broken: dict[str, Any]) -> None:
    (found,), *_ = update_history([attempt()], 0, [job(0, FAILED)], [broken], at(100))
    assert found.message and len(found.message) <= LENGTH


def test_a_recorded_end_is_neither_changed_nor_counted_again() -> None:
    known = attempt(0, "Killed")
    assert update_history([known], 1, [job(0, FAILED)], [BROKEN], at(100)) == ([known], 1, None)


@pytest.mark.parametrize(
    ("known", "stored", "failures"),
    [
        ([], 3, 0),
        ([attempt(0)], 3, 0),
        ([attempt(0, "Killed")], 0, 1),
        ([attempt(0, "Killed")], -100, 1),
        ([attempt(0, "Killed")], 10**400, 1),
        ([attempt(0, "Interrupted")], 1, 0),
        ([attempt(0, "Killed"), attempt(1, "Evicted", disruption=True), attempt(2)], 0, 1),
        ([attempt(7, "Killed"), attempt(8)], 0, 1),
        ([attempt(7, "Killed"), attempt(8)], 5, 5),
        ([attempt(7, "Killed"), attempt(8)], 9, 8),
    ],
)
def test_a_number_of_failures_that_contradicts_the_records_is_corrected(
    known: list[Attempt], stored: int, failures: int
) -> None:
    assert update_history(known, stored, [], [], at(100)).failures == failures


@pytest.mark.parametrize("lost", [[0], [1], [2], [0, 1], [0, 1, 2]])
def test_failures_whose_records_are_lost_are_counted_once(lost: list[int]) -> None:
    known = [attempt(number, "Killed") for number in range(3) if number not in lost]
    followed = update_history(known, 3, [job(number, FAILED) for number in range(3)], [], at(100))
    assert followed.failures == 3


@pytest.mark.parametrize(
    ("ended", "pods", "reason"),
    [
        (COMPLETE, [], "Completed"),
        (FAILED, [failed_pod(137, left=60)], "Interrupted"),
        (FAILED, [pod("Failed", conditions=[holding("DisruptionTarget", reason="TerminationByKubelet")])], "Evicted"),
    ],
)
def test_ends_that_do_not_count_as_failures(ended: Any, pods: list[dict[str, Any]], reason: str) -> None:
    (found,), failures, _ = update_history([attempt()], 0, [job(0, ended)], pods, at(100))
    assert (found.reason, failures, counts(found)) == (reason, 0, False)


def test_pods_of_other_jobs_are_ignored() -> None:
    other = failed_pod(3, owner="uid-dog-1")
    (found,), *_ = update_history([attempt()], 0, [job(0, FAILED)], [other], at(100))
    assert (found.reason, found.start_time) == ("Killed", None)


def test_an_attempt_whose_job_was_deleted_ends_when_another_one_has_started() -> None:
    assert update_history([attempt(0)], 0, [], [], at(100)).attempts == [attempt(0)]
    first, second = update_history([attempt(0)], 0, [job(1)], [], at(100)).attempts
    assert (first.reason, first.completion_time, first.disruption) == ("JobGone", at(100), True)
    assert second == attempt(1)


def test_pruned_records_do_not_come_back() -> None:
    known = [attempt(number, "Killed") for number in range(KEPT)]
    followed = update_history(known, 10, [job(KEPT)], [], at(100))
    assert [one.number for one in followed.attempts] == list(range(1, KEPT + 1))
    assert update_history(followed.attempts, 10, [job(0, FAILED), job(KEPT)], [], at(100)) == followed


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], [0]),
        ([attempt(0)], [0]),
        ([attempt(0, "Killed")], [0, 1]),
        ([attempt(7, "Killed"), attempt(8)], [7, 8]),
        ([attempt(number, "Killed") for number in range(KEPT)], list(range(1, KEPT + 1))),
    ],
)
def test_the_current_attempt_is_the_open_one_or_a_new_one(known: list[Attempt], expected: list[int]) -> None:
    attempts = with_current_attempt(known, read())
    assert [one.number for one in attempts] == expected
    assert attempts[-1].job_name == f"dog-{expected[-1]}"


@pytest.mark.parametrize(
    ("last", "failures", "retries", "final"),
    [
        (attempt(0, "Killed"), 1, 1, False),
        (attempt(0, "Killed"), 2, 1, True),
        (attempt(0, "Killed"), 1, 0, True),
        (attempt(0, "Interrupted"), 5, 1, False),
        (attempt(0, "Evicted", disruption=True), 5, 1, False),
        (attempt(0, "InvalidData"), 1, 9, True),
        (attempt(0, "OutOfMemory"), 1, 9, True),
        (attempt(0, "UploadRefused"), 1, 9, True),
        (attempt(0, "UploadFailed"), 1, 9, False),
        (attempt(0, "StorageFull"), 1, 9, False),
    ],
)
def test_which_failure_is_the_last(last: Attempt, failures: int, retries: int, final: bool) -> None:
    assert is_final(last, failures, retries) is final


@pytest.mark.parametrize(
    ("reason", "message", "said"),
    [
        ("Killed", "It {was} killed", "It {was} killed. That was failure 4, and spec.retries allows 3."),
        ("Killed", None, "That was failure 4, and spec.retries allows 3."),
        ("InvalidData", "No photos.", "No photos."),
    ],
)
def test_the_final_failure_says_why_no_attempt_follows(reason: str, message: str | None, said: str) -> None:
    finding = final_failure(attempt(0, reason, message=message), 4, 3)
    assert (finding.phase, finding.reason, finding.message) == ("Failed", reason, said)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (2000, 300), (10**400, 300)]
)
def test_the_delay_grows_with_each_failure_up_to_a_limit(failures: int, seconds: float) -> None:
    assert next_start(attempt(0, "Killed"), failures) == at(60 + seconds)


@pytest.mark.parametrize("last", [attempt(0), attempt(0, "Interrupted"), attempt(0, "NodeLost", disruption=True)])
def test_a_disruption_causes_no_delay(last: Attempt) -> None:
    assert next_start(last, 3) is None


@pytest.mark.parametrize(("disruptions", "seconds"), [(2, 10), (3, 20), (6, 160), (7, 300), (2000, 300)])
def test_disruptions_in_a_row_cause_a_growing_delay(disruptions: int, seconds: float) -> None:
    assert next_start(attempt(0, "NodeLost", disruption=True), 0, disruptions) == at(60 + seconds)


def test_only_disruptions_soon_after_the_start_form_a_series() -> None:
    lost = [attempt(number, "NodeLost", disruption=True, start_time=at(0)) for number in range(3)]
    lasting = attempt(0, "NodeLost", disruption=True, start_time=at(60 - 600))
    assert disruptions_in_a_row(lost) == 3
    assert disruptions_in_a_row([*lost, attempt(3, "Killed"), *lost[:2]]) == 2
    assert disruptions_in_a_row([*lost, lasting, *lost]) == 3
    assert disruptions_in_a_row([*lost, lasting]) == disruptions_in_a_row([]) == 1
    assert disruptions_in_a_row([attempt(0, "JobGone", disruption=True)] * 2) == 2, "its pods never started"


def test_jobs_of_pruned_attempts() -> None:
    jobs = [job(number, FAILED) for number in range(4)]
    assert pruned_jobs(jobs, [attempt(2, "Killed"), attempt(3)]) == jobs[:2]
    assert pruned_jobs(jobs, []) == []
