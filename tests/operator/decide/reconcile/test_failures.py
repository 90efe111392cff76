"""Failures and retries."""

import json
from copy import deepcopy
from typing import Any

import pytest

from dreambooth_operator.objects.observed import Plan, Reference
from tests.operator.decide.reconcile.story import TWO_NODES, reason, running, spec
from tests.operator.fake_cluster import FakeCluster


def test_failures_are_retried_with_growing_delays_up_to_the_limit() -> None:
    cluster = FakeCluster(spec(retries=2))
    for number, delay in [(0, 10), (1, 20)]:
        cluster.fail_attempt(8, json.dumps({"reason": "CommunicationFailure", "message": "a peer died"}))
        plan = cluster.settle()
        assert reason(plan) == ("Retrying", "BackOff")
        assert plan.requeue_after == delay
        assert f"Attempt {number} failed with CommunicationFailure: a peer died." in plan.status["message"]
        cluster.later(delay)
    cluster.fail_attempt(8, json.dumps({"reason": "CommunicationFailure", "message": "a peer died"}))
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "CommunicationFailure")
    assert plan.status["message"] == "a peer died. That was failure 3, and spec.retries allows 2."
    assert [attempt["reason"] for attempt in plan.status["attempts"]] == ["CommunicationFailure"] * 3
    assert [event.reason for event in cluster.events if event.type == "Warning"] == ["CommunicationFailure"] * 3


def test_the_longest_delay_is_five_minutes() -> None:
    cluster = FakeCluster(spec(retries=9))
    for _ in range(7):
        cluster.fail_attempt()
        cluster.settle()
        cluster.later(300)
    cluster.fail_attempt()
    assert cluster.settle().requeue_after == 300


@pytest.mark.parametrize("code", [2, 3, 5, 6])
def test_failures_that_a_retry_can_not_resolve_are_not_retried(code: int) -> None:
    cluster = FakeCluster()
    cluster.fail_attempt(code)
    assert cluster.settle().status["phase"] == "Failed"
    assert len(cluster.jobs) == 1


@pytest.mark.parametrize("code", [1, 4, 7, 8, 137, 77])
def test_failures_that_a_retry_may_resolve_are_retried(code: int) -> None:
    cluster = FakeCluster()
    cluster.fail_attempt(code)
    assert cluster.settle().status["phase"] == "Retrying"


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures": 0},
        {"failures": -100},
        {"failures": 100},
        {"attempts": []},
        {"attempts": [{"number": -1, "jobName": "dog--1"}]},
        {"suspendedSeconds": -100},
        {"gpuSeconds": -100},
        {"progress": {"percent": 500, "step": -3}},
    ],
    ids=str,
)
def test_wrong_numbers_in_the_status_neither_end_a_dreamboothjob_early_nor_prevent_its_end(
    wrong: dict[str, Any],
) -> None:
    cluster = FakeCluster(spec(retries=1, activeDeadlineSeconds=100))
    cluster.fail_attempt()
    cluster.settle()
    cluster.job["status"] |= wrong
    plan = cluster.settle()
    assert (reason(plan), plan.requeue_after) == (("Retrying", "BackOff"), 10)
    cluster.later(10)
    cluster.fail_attempt()
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "CommunicationFailure")
    assert plan.status["failures"] == 2
    assert [attempt["number"] for attempt in plan.status["attempts"]] == [0, 1]
    assert plan.status["gpuSeconds"] >= 0
    assert "percent" not in plan.status.get("progress", {}) or plan.status["progress"]["percent"] <= 100


def test_a_finished_dreamboothjob_stays_finished() -> None:
    cluster = FakeCluster(spec(retries=0))
    cluster.fail_attempt()
    cluster.settle()
    cluster.job["spec"] |= {"retries": 5, "suspend": True}
    before = deepcopy(cluster.job["status"])
    cluster.later(1000)
    plan = cluster.settle()
    assert plan == Plan(status=before, delete=[])


def test_a_disruption_with_several_nodes_starts_the_next_attempt_at_once() -> None:
    cluster = running(TWO_NODES)
    first, second = cluster.alive()
    cluster.end(first, 9, disruption="EvictionByEvictionAPI")
    cluster.control()
    cluster.end(second, 8)
    plan = cluster.settle()
    assert reason(plan) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0", "dog-1"]
    assert plan.status["failures"] == 0
    assert plan.status["attempts"][0]["reason"] == "Evicted"
    assert plan.status["attempts"][0]["disruption"]
    assert "Evicted" in [event.reason for event in cluster.events]


@pytest.mark.parametrize(
    ("disruption", "expected"),
    [
        ("EvictionByEvictionAPI", "Evicted"),
        ("TerminationByKubelet", "Evicted"),
        ("PreemptionByScheduler", "Preempted"),
        ("DeletionByTaintManager", "NodeLost"),
        ("DeletionByPodGC", "NodeLost"),
        ("SomethingNew", "Disrupted"),
    ],
)
def test_after_a_disruption_the_job_controller_replaces_a_single_pod(disruption: str, expected: str) -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 137, disruption=disruption)
    assert reason(cluster.reconcile()) == ("Retrying", expected)
    cluster.settle()
    cluster.run()
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Training")
    assert len(plan.status["attempts"]) == 1
    assert [event.reason for event in cluster.events][2:] == [expected, "Starting", "Training"]


def test_a_pod_that_saved_a_checkpoint_after_sigterm_is_replaced() -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 9)
    cluster.settle()
    cluster.run()
    assert reason(cluster.settle()) == ("Running", "Training")
    assert len(cluster.jobs) == 1


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("code", [9, 137])
def test_a_pod_that_exceeds_its_limits_is_a_failure_that_counts(code: int, nodes: int) -> None:
    cluster = FakeCluster(spec(retries=1, resources={"nodes": nodes}))
    for failures in (1, 2):
        cluster.settle()
        cluster.run()
        cluster.settle()
        first, *others = cluster.alive()
        cluster.end(first, code)
        first["status"] |= {"reason": "Evicted", "message": 'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". '}
        cluster.reconcile()
        for other in others:
            cluster.end(other, 8)
        plan = cluster.settle()
        assert plan.status["failures"] == failures
        assert "StorageFull" in reason(plan)[1] + plan.status["message"]
        assert 'Usage of EmptyDir volume "tmp" exceeds' in plan.status["message"]
        assert cluster.alive() == []
        cluster.later(10)
    assert reason(plan) == ("Failed", "StorageFull")


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_trainer_that_always_stops_fails_after_a_limited_number_of_pods(nodes: int) -> None:
    cluster = FakeCluster(spec(retries=1, resources={"nodes": nodes}))
    pods = set()
    for _ in range(100):
        cluster.settle()
        cluster.run()
        cluster.reconcile()
        for pod in cluster.alive():
            pods.add(pod["metadata"]["uid"])
            cluster.end(pod, 9)
        cluster.reconcile()
        cluster.later(300)
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "StoppedUnexpectedly")
    assert (plan.status["failures"], len(pods)) == (2, 8 * nodes)


def test_disruptions_of_several_nodes_in_a_row_delay_the_next_attempt() -> None:
    cluster = FakeCluster(TWO_NODES)
    for number, delay in enumerate((None, 10, 20, 40)):
        cluster.settle()
        cluster.run()
        cluster.settle()
        first, second = cluster.alive()
        cluster.end(first, 9, disruption="EvictionByEvictionAPI")
        cluster.control()
        cluster.end(second, 8)
        plan = cluster.settle()
        assert plan.status["failures"] == 0
        if delay is None:
            assert reason(plan) == ("Starting", "Starting")
        else:
            assert (reason(plan), plan.requeue_after) == (("Retrying", "BackOff"), delay)
            assert f"Attempt {number} failed with Evicted" in plan.status["message"]
            cluster.later(delay)


def test_a_deleted_job_is_created_again_when_its_pods_have_ended() -> None:
    cluster = running()
    uid = cluster.current["metadata"]["uid"]
    (pod,) = cluster.alive()
    cluster.carry_out(Plan(status=cluster.job["status"], delete=[Reference("Job", "dog-0")]))
    assert reason(cluster.settle()) == ("Pending", "WaitingForLeftovers")
    cluster.end(pod, 9)
    assert reason(cluster.settle()) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0"]
    assert cluster.current["metadata"]["uid"] != uid


def test_only_the_last_ten_attempts_are_kept() -> None:
    cluster = FakeCluster(spec(retries=20))
    for _ in range(13):
        cluster.fail_attempt()
        cluster.settle()
        cluster.later(300)
    status = cluster.settle().status
    assert [attempt["number"] for attempt in status["attempts"]] == list(range(4, 14))
    assert [job["metadata"]["name"] for job in cluster.jobs] == [f"dog-{number}" for number in range(4, 14)]
    assert status["failures"] == 13
