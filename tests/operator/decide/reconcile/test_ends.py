"""Suspension, deadline, and the end of a DreamBoothJob."""

from dreambooth_operator.objects.observed import Plan, Reference
from tests.operator.decide.reconcile.story import DONE, reason, running, spec
from tests.operator.fake_cluster import FakeCluster, condition


def test_suspension_stops_the_pods_and_resuming_restarts_them() -> None:
    cluster = running()
    cluster.later(10)
    cluster.job["spec"]["suspend"] = True
    plan = cluster.reconcile()
    assert plan.delete == [Reference("Job", "dog-0")]
    assert plan.status["phase"] == "Suspended"
    (pod,) = cluster.alive()
    assert "deletionTimestamp" in pod["metadata"]
    cluster.later(5)
    cluster.end(pod, 9)
    assert cluster.settle().status["gpuSeconds"] == 15
    assert cluster.jobs == []
    cluster.later(100)
    cluster.job["spec"]["suspend"] = False
    plan = cluster.settle()
    cluster.run()
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Training")
    assert plan.status["suspendedSeconds"] == 105
    assert [attempt["number"] for attempt in plan.status["attempts"]] == [0]
    suspended = condition(plan.status, "Suspended")
    assert suspended is not None and (suspended["status"], suspended["reason"]) == ("False", "Resumed")
    words = [event.reason for event in cluster.events]
    assert words == ["Starting", "Training", "Suspended", "Resumed", "Starting", "Training"]


def test_a_dreamboothjob_that_is_created_suspended_creates_nothing() -> None:
    plan = FakeCluster(spec(suspend=True)).settle()
    assert plan.status["phase"] == "Suspended"
    assert [*plan.apply, *plan.create, *plan.delete, *plan.status["attempts"]] == []


def test_the_deadline_does_not_count_suspension() -> None:
    cluster = running(spec(activeDeadlineSeconds=100))
    assert cluster.decide().requeue_after == 100
    cluster.later(60)
    cluster.job["spec"]["suspend"] = True
    cluster.settle()
    cluster.end(cluster.alive()[0], 9)
    cluster.later(1000)
    assert cluster.settle().requeue_after is None
    cluster.job["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    assert cluster.settle().requeue_after == 40
    cluster.later(40)
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "DeadlineExceeded")
    assert plan.delete == [Reference("Job", "dog-0")]
    cluster.later(7)
    cluster.end(cluster.alive()[0], 9)
    assert cluster.settle().status["gpuSeconds"] == 60 + 1000 - 1000 + 47


def test_jobs_that_run_after_the_end_are_deleted() -> None:
    cluster = running(spec(activeDeadlineSeconds=10))
    cluster.later(10)
    plan = cluster.decide()
    cluster.carry_out(plan, writes=1)
    assert cluster.job["status"]["phase"] == "Failed"
    assert cluster.decide().delete == [Reference("Job", "dog-0")]


def test_a_finished_dreamboothjob_is_deleted_after_its_ttl() -> None:
    cluster = running(spec(ttlSecondsAfterFinished=50))
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.control()
    plan = cluster.reconcile()
    assert (plan.status["phase"], plan.requeue_after) == ("Complete", 50), (
        "no watch reports the operator's own last write"
    )
    cluster.later(49)
    assert cluster.reconcile().delete == []
    cluster.later(1)
    assert cluster.reconcile().delete == [Reference("DreamBoothJob", "dog")]
    assert cluster.gone


def test_a_dreamboothjob_that_is_being_deleted_is_only_stopped() -> None:
    """A finalizer may delay the deletion, but not the release of GPUs."""
    cluster = running()
    cluster.job["metadata"]["deletionTimestamp"] = "2026-01-02T03:00:00Z"
    assert cluster.reconcile() == Plan(status=cluster.job["status"], delete=[Reference("Job", "dog-0")])
    assert cluster.reconcile() == Plan(status=cluster.job["status"], delete=[])


def test_the_jobs_of_a_dreamboothjob_that_is_deleted_without_its_objects_continue() -> None:
    cluster = running()
    cluster.job["metadata"] |= {"deletionTimestamp": "2026-01-02T03:00:00Z", "finalizers": ["orphan"]}
    plan = cluster.decide()
    assert (plan.delete, plan.status) == ([], cluster.job["status"])
