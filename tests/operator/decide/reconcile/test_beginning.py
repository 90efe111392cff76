"""How a job begins, and what it waits for."""

from collections.abc import Callable
from typing import Any

import pytest

from dreambooth_operator.decide.reconcile import references
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Reference
from tests.operator.decide.reconcile.story import CLAIM, TWO_NODES, reason, running
from tests.operator.fake_cluster import PHOTOS, FakeCluster


def test_a_new_job_gets_its_config_its_claim_and_its_first_attempt() -> None:
    plan = FakeCluster().decide()
    assert [item["kind"] for item in plan.apply] == ["ConfigMap", "NetworkPolicy"]
    assert [(item["kind"], item["metadata"]["name"]) for item in plan.create] == [(CLAIM, "dog"), ("Job", "dog-0")]
    assert reason(plan) == ("Starting", "Starting")
    assert plan.status["attempts"] == [{"number": 0, "jobName": "dog-0", "disruption": False}]
    assert [event.reason for event in plan.events] == ["Starting"]


def test_several_nodes_get_a_service() -> None:
    assert [item["kind"] for item in FakeCluster(TWO_NODES).decide().apply] == ["ConfigMap", "Service", "NetworkPolicy"]


@pytest.mark.parametrize("kept", [{}, {"metadata": {"uid": "old", "ownerReferences": []}}])
def test_a_claim_that_exists_is_taken_as_it_is(kept: dict[str, Any]) -> None:
    cluster = FakeCluster()
    cluster.add(CLAIM, "dog", **kept)
    assert [item["kind"] for item in cluster.decide().create] == ["Job"]


def test_a_running_job_needs_no_look_at_anything_else() -> None:
    cluster = running()
    assert references(cluster.observe(), cluster.now, cluster.settings) == set()
    plan = cluster.decide()
    assert [*plan.apply, *plan.create, *plan.delete, *plan.events] == []
    assert reason(plan) == ("Running", "Training")


def missing_photos(cluster: FakeCluster) -> None:
    del cluster.objects[Reference("ConfigMap", PHOTOS)]


def missing_claim(cluster: FakeCluster) -> None:
    cluster.job["spec"]["volumes"] = {"output": {"claimName": "shelf"}}


def lost_claim(cluster: FakeCluster) -> None:
    cluster.job["spec"]["volumes"] = {"output": {"claimName": "shelf"}}
    cluster.add(CLAIM, "shelf", status={"phase": "Lost"})


def leaving_claim(cluster: FakeCluster) -> None:
    cluster.add(CLAIM, "dog")["metadata"]["deletionTimestamp"] = "2026-01-02T03:00:00Z"


def foreign_config(cluster: FakeCluster) -> None:
    cluster.add("ConfigMap", "dog-config")


def claim_of_an_earlier_job(cluster: FakeCluster) -> None:
    owner = {"kind": "DreamBoothJob", "name": "dog", "uid": "earlier", "controller": True}
    cluster.add(CLAIM, "dog")["metadata"]["ownerReferences"] = [owner]


def job_of_an_earlier_job(cluster: FakeCluster) -> None:
    owner = {"uid": "earlier", "controller": True}
    cluster.add("Job", "dog-0")["metadata"] |= {"labels": {names.LABEL_JOB: "dog"}, "ownerReferences": [owner]}


def job_of_somebody_else(cluster: FakeCluster) -> None:
    cluster.add("Job", "dog-0")


def job_of_a_cron_job(cluster: FakeCluster) -> None:
    owner = {"kind": "CronJob", "name": "dog", "uid": "cron", "controller": True}
    cluster.add("Job", "dog-0")["metadata"]["ownerReferences"] = [owner]


@pytest.mark.parametrize(
    ("arrange", "expected", "named"),
    [
        (missing_photos, "ConfigMapNotFound", "ConfigMap photos, which spec.subject.images.configMap.name"),
        (missing_claim, "ClaimNotFound", "PersistentVolumeClaim shelf, which spec.volumes.output.claimName"),
        (lost_claim, "ClaimLost", "shelf"),
        (leaving_claim, "BeingDeleted", "PersistentVolumeClaim dog"),
        (foreign_config, "NameTaken", "ConfigMap dog-config belongs to somebody else"),
        (claim_of_an_earlier_job, "BeingDeleted", "PersistentVolumeClaim dog"),
        (job_of_an_earlier_job, "WaitingForLeftovers", "Job dog-0"),
        (job_of_somebody_else, "NameTaken", "Job dog-0 belongs to somebody else"),
        (job_of_a_cron_job, "NameTaken", "Job dog-0 belongs to CronJob dog"),
    ],
)
def test_nothing_starts_while_something_is_missing_or_in_the_way(
    arrange: Callable[[FakeCluster], None], expected: str, named: str
) -> None:
    cluster = FakeCluster()
    arrange(cluster)
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", expected)
    assert named in plan.status["message"]
    assert [*plan.apply, *plan.create] == []
    assert plan.requeue_after == 15
    assert [event.reason for event in plan.events] == [expected]
    assert cluster.reconcile().events == []


def test_what_was_missing_is_awaited() -> None:
    cluster = FakeCluster()
    missing_photos(cluster)
    cluster.settle()
    cluster.add("ConfigMap", PHOTOS)
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_a_job_of_somebody_else_may_stand_in_the_way_of_any_attempt() -> None:
    cluster = FakeCluster()
    cluster.fail_attempt()
    cluster.add("Job", "dog-1")
    cluster.settle()
    cluster.later(10)
    assert reason(cluster.settle()) == ("Pending", "NameTaken")
    del cluster.objects[Reference("Job", "dog-1")]
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_a_job_of_somebody_else_that_came_just_before_ours_is_told_at_the_next_look() -> None:
    cluster = FakeCluster()
    plan = cluster.decide()
    cluster.add("Job", "dog-0")
    cluster.carry_out(plan)
    assert reason(cluster.settle()) == ("Pending", "NameTaken")
    del cluster.objects[Reference("Job", "dog-0")]
    assert reason(cluster.settle()) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0"]


def test_a_pod_of_an_earlier_job_of_the_name_may_still_write() -> None:
    cluster = running()
    (pod,) = cluster.alive()
    del cluster.objects[Reference("Job", "dog-0")]
    cluster.job["metadata"]["uid"] = "another"
    cluster.job.pop("status")
    assert reason(cluster.settle()) == ("Pending", "WaitingForLeftovers")
    cluster.end(pod, 9)
    assert reason(cluster.settle()) == ("Pending", "BeingDeleted")
    del cluster.objects[Reference("ConfigMap", "dog-config")], cluster.objects[Reference("NetworkPolicy", "dog")]
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_what_the_api_server_refuses_is_told_and_tried_again() -> None:
    cluster = FakeCluster()
    cluster.refusals[Reference("Job", "dog-0")] = "exceeded quota: jobs"
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", "QuotaExceeded")
    assert "Job dog-0: exceeded quota: jobs." in plan.status["message"]
    assert (plan.create[-1]["metadata"]["name"], plan.requeue_after) == ("dog-0", 30)
    cluster.refusals.clear()
    assert reason(cluster.settle()) == ("Starting", "Starting")
