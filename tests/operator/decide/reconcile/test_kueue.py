"""Jobs in a queue of Kueue."""

from dreambooth_operator.objects import names
from tests.operator.decide.reconcile.story import QUEUED, TWO_NODES, reason
from tests.operator.fake_cluster import FakeCluster


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
