"""Jobs in a queue of Kueue."""

from dreambooth_operator.objects import names
from tests.operator.decide.reconcile.story import QUEUED, TWO_NODES, reason
from tests.operator.fake_cluster import FakeCluster, stamp


def test_a_queued_job_waits_for_kueue_and_is_never_updated() -> None:
    cluster = FakeCluster(QUEUED)
    plan = cluster.reconcile()
    job = plan.create[-1]
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"][names.LABEL_QUEUE] == "team"
    assert reason(plan) == ("Queued", "Queued")
    cluster.current["spec"]["suspend"] = False
    cluster.current["spec"]["template"]["spec"]["nodeSelector"] = {"flavor": "h200"}
    cluster.settle()
    cluster.run()
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Training")
    assert [*plan.apply, *plan.create] == []
    assert cluster.current["spec"]["template"]["spec"]["nodeSelector"] == {"flavor": "h200"}


def test_kueue_may_evict_a_workload() -> None:
    cluster = FakeCluster({**TWO_NODES, **QUEUED})
    cluster.reconcile()
    cluster.current["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    cluster.settle()
    cluster.later(30)
    cluster.current["spec"]["suspend"] = True
    assert reason(cluster.settle()) == ("Queued", "Queued")
    for pod in cluster.alive():
        cluster.end(pod, 9)
    plan = cluster.settle()
    assert reason(plan) == ("Queued", "Queued")
    assert plan.status["gpuSeconds"] == 60
    cluster.current["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    assert reason(cluster.settle()) == ("Running", "Training")
    assert len(cluster.jobs) == 1


def admitted(cluster: FakeCluster) -> None:
    """Kueue admits the newest Job, and its pods run."""
    cluster.current["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    cluster.settle()


def preempted(cluster: FakeCluster, code: int = 9) -> None:
    """Kueue suspends the newest Job, and its pods end."""
    cluster.current["spec"]["suspend"] = True
    cluster.settle()
    for pod in cluster.alive():
        cluster.end(pod, code)
    cluster.settle()


def test_time_in_the_queue_after_a_preemption_does_not_count_for_the_deadline() -> None:
    cluster = FakeCluster({**QUEUED, "activeDeadlineSeconds": 100})
    cluster.settle()
    cluster.later(5000)
    admitted(cluster)
    assert cluster.settle().requeue_after == 100
    for waits, left in ((700, 70), (1300, 40)):
        cluster.later(30)
        preempted(cluster)
        assert cluster.settle().requeue_after is None
        cluster.later(waits)
        assert reason(cluster.settle()) == ("Queued", "Queued")
        admitted(cluster)
        plan = cluster.settle()
        assert (reason(plan), plan.requeue_after) == (("Running", "Training"), left)
    assert plan.status["queuedSeconds"] == 2000
    assert "queuedSince" not in plan.status
    cluster.later(40)
    assert reason(cluster.settle()) == ("Failed", "DeadlineExceeded")


def test_the_wait_of_a_further_attempt_does_not_count_for_the_deadline() -> None:
    cluster = FakeCluster(QUEUED)
    cluster.publish("small", default=True, queueNames=["team"], limits={"activeDeadlineSeconds": 90})
    cluster.settle()
    admitted(cluster)
    cluster.later(30)
    cluster.end(cluster.alive()[0], 8)
    cluster.settle()
    cluster.later(10)
    assert reason(cluster.settle()) == ("Queued", "Queued")
    cluster.later(5000)
    cluster.settle()
    admitted(cluster)
    assert cluster.settle().requeue_after == 50


def test_suspension_in_the_queue_is_counted_once() -> None:
    cluster = FakeCluster({**QUEUED, "activeDeadlineSeconds": 100})
    cluster.settle()
    admitted(cluster)
    preempted(cluster)
    cluster.later(50)
    cluster.job["spec"]["suspend"] = True
    cluster.settle()
    cluster.later(70)
    cluster.job["spec"]["suspend"] = False
    cluster.settle()
    cluster.later(20)
    admitted(cluster)
    status = cluster.settle().status
    assert (status["queuedSeconds"], status["suspendedSeconds"]) == (70, 70)


def test_a_wait_that_began_while_no_operator_was_running_is_counted_from_its_beginning() -> None:
    cluster = FakeCluster({**QUEUED, "activeDeadlineSeconds": 100})
    cluster.settle()
    admitted(cluster)
    cluster.current["spec"]["suspend"] = True
    suspended = {"type": "Suspended", "status": "True", "lastTransitionTime": stamp(cluster.now)}
    cluster.current["status"] = {"conditions": [suspended]}
    cluster.control()
    cluster.end(cluster.alive()[0], 9)
    cluster.later(5000)
    assert reason(cluster.settle()) == ("Queued", "Queued")
    admitted(cluster)
    assert cluster.settle().status["queuedSeconds"] == 5000
