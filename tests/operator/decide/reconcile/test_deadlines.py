"""`pendingDeadlineSeconds`, `progressDeadlineSeconds`, and defaults of runtimes."""

from typing import Any

import pytest
from pydantic import BaseModel

from dreambooth_api.job import DreamBoothJobSpec
from dreambooth_api.runtime import RuntimeLimits
from dreambooth_operator.objects.observed import Reference
from tests.operator.decide.reconcile.story import DONE, QUEUED, TWO_NODES, reason, running, spec
from tests.operator.fake_cluster import PHOTOS, SETTINGS, FakeCluster, stamp


def with_default(cluster: FakeCluster, **defaults: int) -> FakeCluster:
    queues = {"queueNames": ["team"]} if "scheduling" in cluster.job["spec"] else {}
    cluster.publish("small", default=True, defaults=defaults, **queues)
    return cluster


def starting(content: dict[str, Any], **defaults: int) -> FakeCluster:
    """A DreamBoothJob whose pods can't be scheduled."""
    cluster = with_default(FakeCluster(content), **defaults)
    cluster.job["metadata"]["creationTimestamp"] = stamp(cluster.now)
    cluster.settle()
    return cluster


# Progress.


@pytest.mark.parametrize(
    ("own", "default", "expected"), [(100, None, 100), (None, 200, 200), (100, 200, 100), (None, None, None)]
)
def test_an_attempt_without_progress_ends_and_counts(
    own: int | None, default: int | None, expected: int | None
) -> None:
    content = {**TWO_NODES, "retries": 1, **({"progressDeadlineSeconds": own} if own else {})}
    cluster = with_default(FakeCluster(content), **({"progressDeadlineSeconds": default} if default else {}))
    cluster.settle()
    cluster.run()
    cluster.progress_since = cluster.now
    assert cluster.settle().requeue_after == expected
    if expected is None:
        return
    cluster.later(expected - 10)
    cluster.progress_since = cluster.now  # it made a step
    cluster.later(expected - 1)
    assert (reason(cluster.settle()), cluster.settle().requeue_after) == (("Running", "Training"), 1)
    cluster.later(1)
    plan = cluster.reconcile()
    assert reason(plan) == ("Retrying", "BackOff")
    assert plan.delete == [Reference("Job", "dog-0")]
    assert (plan.status["failures"], plan.status["attempts"][0]["reason"]) == (1, "Stalled")
    assert f"no progress for {expected} seconds" in plan.status["message"]
    assert cluster.reconcile().status["failures"] == 1
    for pod in cluster.alive():
        cluster.end(pod, 137)
    cluster.later(10)
    cluster.settle()
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-1"]
    cluster.run()
    cluster.progress_since = cluster.now
    cluster.settle()
    cluster.later(expected)
    assert reason(cluster.reconcile()) == ("Failed", "Stalled")


def test_only_time_that_the_operator_has_observed_counts_as_silence() -> None:
    cluster = running(spec(progressDeadlineSeconds=100))
    cluster.later(5000)
    assert reason(cluster.settle()) == ("Running", "Training"), "no operator was running"
    cluster.progress_since = cluster.now
    assert cluster.settle().requeue_after == 100


def test_an_attempt_that_is_suspended_or_has_ended_does_not_stall() -> None:
    cluster = running(spec(progressDeadlineSeconds=100))
    cluster.progress_since = cluster.now
    cluster.later(60)
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.later(60)
    cluster.control()
    assert reason(cluster.settle()) == ("Complete", "Complete")
    cluster = running(spec(progressDeadlineSeconds=100))
    cluster.progress_since = cluster.now
    cluster.job["spec"]["suspend"] = True
    cluster.settle()
    cluster.later(120)
    plan = cluster.settle()
    assert (plan.status["phase"], plan.status["failures"]) == ("Suspended", 0)


# Pending.


@pytest.mark.parametrize(("own", "default", "expected"), [(100, None, 100), (None, 200, 200), (100, 200, 100)])
def test_a_dreamboothjob_that_does_not_start_in_time_fails(own: int | None, default: int | None, expected: int) -> None:
    content = spec(**({"pendingDeadlineSeconds": own} if own else {}))
    cluster = starting(content, **({"pendingDeadlineSeconds": default} if default else {}))
    cluster.later(expected - 1)
    assert (cluster.settle().status["phase"], cluster.settle().requeue_after) == ("Starting", 1)
    cluster.later(1)
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "PendingDeadlineExceeded")
    assert f"within {expected} seconds" in plan.status["message"] and "Job dog-0" in plan.status["message"]
    assert cluster.alive() == []


@pytest.mark.parametrize("defaults", [{}, {"pendingDeadlineSeconds": 100}])
def test_a_dreamboothjob_whose_photos_never_come_fails(defaults: dict[str, int]) -> None:
    cluster = with_default(FakeCluster(spec(**({} if defaults else {"pendingDeadlineSeconds": 100}))), **defaults)
    cluster.job["metadata"]["creationTimestamp"] = stamp(cluster.now)
    del cluster.objects[Reference("ConfigMap", PHOTOS)]
    assert reason(cluster.settle()) == ("Pending", "WaitingForObjects")
    cluster.later(99)
    assert reason(cluster.settle()) == ("Pending", "ConfigMapNotFound")
    cluster.later(1)
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "PendingDeadlineExceeded")
    assert "ConfigMap photos" in plan.status["message"]


def test_waits_in_the_queue_and_suspensions_do_not_count_as_pending() -> None:
    cluster = starting({**QUEUED, "pendingDeadlineSeconds": 100})
    cluster.later(5000)
    assert (reason(cluster.settle()), cluster.settle().requeue_after) == (("Queued", "Queued"), None)
    cluster.job["spec"]["suspend"] = True
    cluster.settle()
    cluster.later(5000)
    cluster.job["spec"]["suspend"] = False
    cluster.settle()
    cluster.later(5000)
    cluster.current["spec"]["suspend"] = False
    resumed = {"type": "Suspended", "status": "False", "lastTransitionTime": stamp(cluster.now)}
    cluster.current["status"] = {"conditions": [resumed]}
    assert reason(cluster.settle()) == ("Starting", "Starting")
    cluster.later(99)
    assert cluster.settle().status["phase"] == "Starting"
    cluster.later(1)
    assert reason(cluster.settle()) == ("Failed", "PendingDeadlineExceeded")


def test_a_dreamboothjob_that_has_started_is_not_pending_again() -> None:
    cluster = starting(spec(pendingDeadlineSeconds=100))
    cluster.run()
    cluster.settle()
    cluster.later(5000)
    cluster.fail_attempt()
    cluster.settle()
    cluster.later(300)
    assert cluster.settle().status["phase"] == "Starting"


# Active.


def unschedulable(cluster: FakeCluster) -> None:
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    for pod in cluster.alive():
        pod["status"]["conditions"] = [{**said, "lastTransitionTime": stamp(cluster.now)}]


def test_the_active_deadline_counts_from_the_first_pod_on_a_node_and_the_pending_deadline_before_it() -> None:
    cluster = starting(spec(activeDeadlineSeconds=100, pendingDeadlineSeconds=500))
    unschedulable(cluster)
    cluster.later(499)
    assert (reason(cluster.settle()), cluster.settle().requeue_after) == (("Pending", "Unschedulable"), 1)
    cluster.run()
    cluster.settle()
    cluster.later(50)
    cluster.fail_attempt()
    cluster.settle()
    cluster.later(20)
    cluster.settle()
    unschedulable(cluster)
    cluster.later(29)
    assert cluster.settle().status["phase"] == "Starting"
    cluster.later(1)
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "DeadlineExceeded"), "later pods that can't be scheduled count"
    assert "spec.activeDeadlineSeconds (100) was exceeded after the start of the first pod" in plan.status["message"]


@pytest.mark.parametrize(
    ("model", "field", "words"),
    [
        (DreamBoothJobSpec, "active_deadline_seconds", ["first pod on a node", "`pendingDeadlineSeconds`"]),
        (DreamBoothJobSpec, "pending_deadline_seconds", ["no pod has started on a node", "none can be scheduled"]),
        (RuntimeLimits, "active_deadline_seconds", ["first pod on a node", "`defaults.pendingDeadlineSeconds`"]),
    ],
)
def test_the_deadlines_are_explained_as_they_are(model: type[BaseModel], field: str, words: list[str]) -> None:
    explained = " ".join(str(model.model_fields[field].description).split())
    assert [one for one in words if one not in explained] == []


# Time to live.


@pytest.mark.parametrize(
    ("own", "of_runtime", "of_operator", "expected"),
    [(50, 60, 70, 50), (None, 60, 70, 60), (None, None, 70, 70), (None, None, None, None), (0, 60, 70, 1)],
)
def test_defaults_of_the_time_to_live(
    own: int | None, of_runtime: int | None, of_operator: int | None, expected: int | None
) -> None:
    settings = SETTINGS.model_copy(update={"ttl_seconds_after_finished": of_operator})
    cluster = FakeCluster(spec(**({} if own is None else {"ttlSecondsAfterFinished": own})), settings)
    with_default(cluster, **({} if of_runtime is None else {"ttlSecondsAfterFinished": of_runtime}))
    cluster.settle()
    cluster.run()
    cluster.settle()
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.control()
    assert cluster.reconcile().requeue_after == expected
    cluster.later(5000)
    cluster.reconcile()
    assert cluster.gone is (expected is not None)
