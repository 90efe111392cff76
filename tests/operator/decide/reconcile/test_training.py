"""The status during training and at the end."""

from dreambooth_operator.objects.observed import Reference
from tests.operator.decide.reconcile.story import DONE, running
from tests.operator.fake_cluster import FakeCluster
from tests.operator.poll.test_snapshot_validation import make_snapshot


def test_progress_is_reported_while_it_runs_and_never_decreases() -> None:
    cluster = running()
    cluster.snapshot = make_snapshot(percent=31.5, step=120)
    status = cluster.settle().status
    assert (status["progress"]["percent"], status["progress"]["step"]) == (31, 120)
    cluster.fail_attempt()
    cluster.later(10)
    cluster.settle()
    cluster.run()
    cluster.snapshot = make_snapshot(percent=2.0, step=100)
    progress = cluster.settle().status["progress"]
    assert (progress["percent"], progress["step"]) == (31, 100)


def test_progress_of_a_stopped_trainer_is_not_reported_again() -> None:
    cluster = running()
    cluster.snapshot = make_snapshot()
    cluster.settle()
    cluster.job["spec"]["suspend"] = True
    progress = cluster.settle().status["progress"]
    assert progress["step"] == 120
    assert "etaSeconds" not in progress and "stepsPerSecond" not in progress


def test_a_complete_dreamboothjob_has_its_result() -> None:
    cluster = running()
    cluster.later(60)
    cluster.end(cluster.alive()[0], 0, DONE)
    plan = cluster.settle()
    assert plan.status["phase"] == "Complete"
    assert plan.status["result"] == {"claimName": "dog", "path": "dog", "figures": {"subj": 0.8}}
    assert plan.status["progress"]["percent"] == 100
    assert plan.status["gpuSeconds"] == 60
    assert plan.status["completionTime"] == "2026-01-02T03:01:00Z"
    assert [event.reason for event in cluster.events] == ["Starting", "Training", "Complete"]


def test_a_deleted_config_map_is_created_again() -> None:
    cluster = FakeCluster()
    cluster.settle()
    (pod,) = cluster.alive()
    cluster.wait(pod, "ContainerCreating")
    del cluster.objects[Reference("ConfigMap", "dog-config")]
    cluster.mount_failures[pod["metadata"]["name"]] = 'configmap "dog-config" not found'
    cluster.later(31)
    cluster.reconcile()
    assert Reference("ConfigMap", "dog-config") in cluster.objects
