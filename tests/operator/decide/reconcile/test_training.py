"""What is told while a job trains, and at its end."""

from dreambooth_operator.objects.observed import Reference
from tests.operator.decide.reconcile.story import DONE, running
from tests.operator.fake_cluster import FakeCluster
from tests.operator.poll.test_trust import told


def test_progress_is_told_while_it_runs_and_never_falls_back() -> None:
    cluster = running()
    cluster.snapshot = told(percent=31.5, step=120)
    status = cluster.settle().status
    assert (status["progress"]["percent"], status["progress"]["step"]) == (31, 120)
    cluster.fail_attempt()
    cluster.later(10)
    cluster.settle()
    cluster.run()
    cluster.snapshot = told(percent=2.0, step=100)
    progress = cluster.settle().status["progress"]
    assert (progress["percent"], progress["step"]) == (31, 100)


def test_what_a_stopped_trainer_told_is_not_repeated() -> None:
    cluster = running()
    cluster.snapshot = told()
    cluster.settle()
    cluster.job["spec"]["suspend"] = True
    progress = cluster.settle().status["progress"]
    assert progress["step"] == 120
    assert "etaSeconds" not in progress and "stepsPerSecond" not in progress


def test_a_complete_job_tells_its_result() -> None:
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


def test_a_config_map_that_was_deleted_is_made_again() -> None:
    cluster = FakeCluster()
    cluster.settle()
    (pod,) = cluster.alive()
    cluster.wait(pod, "ContainerCreating")
    del cluster.objects[Reference("ConfigMap", "dog-config")]
    cluster.mount_failures[pod["metadata"]["name"]] = 'configmap "dog-config" not found'
    cluster.later(31)
    cluster.reconcile()
    assert Reference("ConfigMap", "dog-config") in cluster.objects
