from typing import Any

import pytest

from dreambooth_api.status import Attempt, Condition, DreamBoothJobStatus, TrainingProgress
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.compose import StatusInput, compose_status, to_json, with_gpu_time
from dreambooth_operator.decide.status.reasons import Finding
from dreambooth_operator.decide.status.termination_message import TerminationMessage
from dreambooth_operator.objects.folders import Folder
from tests.operator.pieces import OWNER, at, pod, read, running
from tests.operator.poll.test_snapshot_validation import make_snapshot

NEW = DreamBoothJobStatus()
TRAINING = reasons.TRAINING(number=0, pods="1 pod")
REFUSED = reasons.PROGRESS_REFUSED(number=0, pods="1 pod", detail="it is not JSON.")
COMPLETE = reasons.COMPLETE(path="dog", claim="dog")
KILLED = reasons.failed("Killed", "killed")
UNSOUND = reasons.INVALID_CONFIG(problems="x")
LATE = reasons.DEADLINE_EXCEEDED(field="spec.activeDeadlineSeconds", seconds=9)
OPEN = Attempt(number=0, job_name="dog-0", start_time=at(10))
DONE = OPEN.model_copy(update={"completion_time": at(50), "reason": "Completed"})
FAILED = OPEN.model_copy(update={"completion_time": at(50), "reason": "Killed", "message": "killed"})


def made(finding: Finding, before: DreamBoothJobStatus = NEW, **more: Any) -> DreamBoothJobStatus:
    update: dict[str, Any] = {
        "owner": {**OWNER, "metadata": {**OWNER["metadata"], "generation": 3}},
        "workload": read(),
        "output": Folder("dog", "dog"),
        "finding": finding,
        "attempts": [OPEN],
        "runtime": None,
        "failures": 0,
        "suspended_seconds": 0,
        "termination_message": None,
        "pods": [],
        "snapshot": None,
        "now": at(100),
    }
    return compose_status(before, StatusInput(**{**update, **more}))


def test_phase_message_and_generation() -> None:
    status = made(TRAINING, failures=2, suspended_seconds=7)
    assert (status.phase, status.message, status.observed_generation) == (
        "Running",
        "Attempt 0 is running in 1 pod.",
        3,
    )
    assert (status.failures, status.suspended_seconds, status.attempts) == (2, 7, [OPEN])
    assert (status.completion_time, status.result) == (None, None)


@pytest.mark.parametrize(("known", "expected"), [(None, at(10)), (at(5), at(5))])
def test_the_start_time_is_the_first_and_does_not_change(known: Any, expected: Any) -> None:
    assert made(TRAINING, DreamBoothJobStatus(start_time=known)).start_time == expected


@pytest.mark.parametrize(
    ("known", "finding", "attempts", "expected"),
    [
        ([OPEN], COMPLETE, [DONE], at(50)),
        ([OPEN], KILLED, [FAILED], at(50)),
        ([FAILED], KILLED, [FAILED], at(100)),
        ([FAILED], LATE, [FAILED], at(100)),
        ([FAILED], UNSOUND, [FAILED], at(100)),
        ([OPEN], LATE, [OPEN], at(100)),
        ([], UNSOUND, [], at(100)),
    ],
)
def test_completion_time(known: list[Attempt], finding: Finding, attempts: list[Attempt], expected: Any) -> None:
    assert made(finding, DreamBoothJobStatus(attempts=known), attempts=attempts).completion_time == expected


def test_a_running_attempt_ends_when_the_dreamboothjob_fails() -> None:
    (attempt,) = made(LATE).attempts
    assert (attempt.completion_time, attempt.reason) == (at(100), "DeadlineExceeded")
    assert made(LATE, attempts=[FAILED]).attempts == [FAILED]


def test_only_a_complete_dreamboothjob_has_a_result() -> None:
    word = TerminationMessage("Completed", "", 9, {"subj": 0.5})
    result = made(COMPLETE, attempts=[DONE], termination_message=word).result
    assert result is not None and result.figures == {"subj": 0.5}
    assert made(TRAINING, termination_message=word).result is None


@pytest.mark.parametrize(
    ("finding", "percent", "step", "eta"),
    [(TRAINING, 31, 120, 240), (COMPLETE, 100, 400, None), (LATE, 5, 7, None), (reasons.SUSPENDED(), 5, 7, None)],
)
def test_progress_changes_only_while_a_trainer_runs(finding: Finding, percent: int, step: int, eta: int | None) -> None:
    before = DreamBoothJobStatus(progress=TrainingProgress(percent=5, step=7, eta_seconds=60))
    progress = made(finding, before, snapshot=make_snapshot()).progress
    assert progress is not None
    assert (progress.percent, progress.step, progress.eta_seconds) == (percent, step, eta)


@pytest.mark.parametrize("finding", [TRAINING, REFUSED])
def test_progress_is_kept_without_a_report(finding: Finding) -> None:
    before = DreamBoothJobStatus(progress=TrainingProgress(percent=5, eta_seconds=60))
    assert made(finding, before).progress == before.progress


@pytest.mark.parametrize(
    ("spec", "job", "finding"),
    [
        ({"resources": {"nodes": 2, "gpusPerNode": 4}}, read(), TRAINING),
        ({"resources": {"nodes": 2, "gpusPerNode": 4}, "image": "forbidden"}, None, UNSOUND),
    ],
)
def test_gpus_are_those_of_all_nodes_until_the_last_pod_has_ended(spec: Any, job: Any, finding: Finding) -> None:
    owner = {**OWNER, "spec": spec}
    held = made(finding, workload=job, owner=owner, pods=[pod("Running", running())])
    assert (held.gpu_seconds, held.gpus_held_since) == (0, at(0))
    ended = with_gpu_time(held, owner, [], at(100))
    assert (ended.gpu_seconds, ended.gpus_held_since) == (800, None)
    assert ended.model_copy(update={"gpu_seconds": 0, "gpus_held_since": at(0)}) == held


@pytest.mark.parametrize("resources", [{"nodes": "many"}, [], None, {"gpusPerNode": 0}])
def test_no_gpus_are_counted_without_valid_resources(resources: Any) -> None:
    owner = {**OWNER, "spec": {"resources": resources}}
    assert with_gpu_time(NEW, owner, [pod("Running", running())], at(100)) == NEW


def test_an_invalid_dreamboothjob_is_not_accepted_and_keeps_its_gpu_time() -> None:
    before = DreamBoothJobStatus(gpu_seconds=5, progress=TrainingProgress(step=7, eta_seconds=60))
    status = made(UNSOUND, before, workload=None)
    accepted: Condition = status.conditions[0]
    assert (accepted.type, accepted.status, status.gpu_seconds) == ("Accepted", "False", 5)
    assert status.progress == TrainingProgress(step=7)


def test_the_json_omits_unknown_values() -> None:
    assert to_json(DreamBoothJobStatus(phase="Pending", start_time=at(0))) == {
        "phase": "Pending",
        "startTime": "2026-01-02T03:00:00Z",
        "conditions": [],
        "attempts": [],
        "suspendedSeconds": 0,
        "failures": 0,
        "gpuSeconds": 0,
    }
