"""The start of a DreamBoothJob, and its preflight checks."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from dreambooth_operator.decide.reconcile import references
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import InvalidField, Reference
from tests.operator.decide.reconcile.story import CLAIM, TWO_NODES, reason, running, spec
from tests.operator.fake_cluster import PHOTOS, FakeCluster, condition, stamp


def test_a_new_dreamboothjob_gets_its_config_map_its_claim_and_its_first_attempt() -> None:
    plan = FakeCluster().decide()
    assert [item["kind"] for item in plan.apply] == ["ConfigMap", "NetworkPolicy"]
    assert [(item["kind"], item["metadata"]["name"]) for item in plan.create] == [(CLAIM, "dog"), ("Job", "dog-0")]
    assert reason(plan) == ("Starting", "Starting")
    assert plan.status["attempts"] == [{"number": 0, "jobName": "dog-0", "disruption": False}]
    assert [event.reason for event in plan.events] == ["Starting"]


def test_several_nodes_get_a_service() -> None:
    assert [item["kind"] for item in FakeCluster(TWO_NODES).decide().apply] == ["ConfigMap", "Service", "NetworkPolicy"]


OURS = {names.LABEL_JOB: "dog"}


@pytest.mark.parametrize("kept", [{}, {"ownerReferences": []}])
def test_the_claim_of_an_earlier_dreamboothjob_is_reused(kept: dict[str, Any]) -> None:
    cluster = FakeCluster()
    cluster.add(CLAIM, "dog")["metadata"] |= {"labels": OURS, **kept}
    assert [item["kind"] for item in cluster.decide().create] == ["Job"]


@pytest.mark.parametrize(
    ("kept", "origin"),
    [
        ({}, "was not created by the operator"),
        ({"labels": {"app": "db"}, "ownerReferences": []}, "was not created by the operator"),
        ({"labels": {names.LABEL_JOB: "cat"}}, "was not created by the operator"),
        ({"labels": {"app.kubernetes.io/managed-by": names.OPERATOR}}, "was not created by the operator"),
        (
            {"labels": OURS, "ownerReferences": [{"kind": "Cluster", "name": "db", "uid": "1", "controller": True}]},
            "belongs to Cluster db",
        ),
    ],
)
def test_the_claim_of_another_owner_is_not_adopted(kept: dict[str, Any], origin: str) -> None:
    cluster = FakeCluster()
    cluster.add(CLAIM, "dog")["metadata"] |= kept
    plan = cluster.reconcile()
    assert (reason(plan), plan.create) == (("Pending", "NameTaken"), ())
    assert f"PersistentVolumeClaim dog already exists and {origin}." in plan.status["message"]
    assert "or name the claim in spec.volumes.output.claimName." in plan.status["message"]
    cluster.job["spec"]["volumes"] = {"output": {"claimName": "dog"}}
    assert [item["kind"] for item in cluster.decide().create] == ["Job"], "its user requests it"


def test_a_running_dreamboothjob_references_nothing() -> None:
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
    cluster.add(CLAIM, "dog")["metadata"] |= {"deletionTimestamp": "2026-01-02T03:00:00Z", "labels": OURS}


def foreign_config(cluster: FakeCluster) -> None:
    cluster.add("ConfigMap", "dog-config")


def claim_of_an_earlier_job(cluster: FakeCluster) -> None:
    owner = {"kind": "DreamBoothJob", "name": "dog", "uid": "earlier", "controller": True}
    cluster.add(CLAIM, "dog")["metadata"]["ownerReferences"] = [owner]


def job_of_an_earlier_job(cluster: FakeCluster) -> None:
    owner = {"uid": "earlier", "controller": True}
    cluster.add("Job", "dog-0")["metadata"] |= {
        "labels": {names.LABEL_JOB: "dog", names.LABEL_ATTEMPT: "0"},
        "ownerReferences": [owner],
    }


def job_of_somebody_else(cluster: FakeCluster) -> None:
    cluster.add("Job", "dog-0")


def job_of_a_cron_job(cluster: FakeCluster) -> None:
    owner = {"kind": "CronJob", "name": "dog", "uid": "cron", "controller": True}
    cluster.add("Job", "dog-0")["metadata"]["ownerReferences"] = [owner]


@pytest.mark.parametrize(
    ("arrange", "expected", "named"),
    [
        (missing_photos, "ConfigMapNotFound", "ConfigMap photos (spec.subject.images.configMap.name)"),
        (missing_claim, "ClaimNotFound", "PersistentVolumeClaim shelf (spec.volumes.output.claimName)"),
        (lost_claim, "ClaimLost", "shelf"),
        (leaving_claim, "BeingDeleted", "PersistentVolumeClaim dog"),
        (foreign_config, "NameTaken", "ConfigMap dog-config already exists and was not created by the operator"),
        (claim_of_an_earlier_job, "BeingDeleted", "PersistentVolumeClaim dog"),
        (job_of_an_earlier_job, "WaitingForLeftovers", "Job dog-0"),
        (job_of_somebody_else, "NameTaken", "Job dog-0 already exists and was not created by the operator"),
        (job_of_a_cron_job, "NameTaken", "Job dog-0 already exists and belongs to CronJob dog"),
    ],
)
def test_no_attempt_starts_while_a_preflight_check_fails(
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


def test_an_attempt_starts_when_the_missing_object_exists() -> None:
    cluster = FakeCluster()
    missing_photos(cluster)
    cluster.settle()
    cluster.add("ConfigMap", PHOTOS)
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_a_foreign_job_may_block_any_attempt() -> None:
    cluster = FakeCluster()
    cluster.fail_attempt()
    cluster.add("Job", "dog-1")
    cluster.settle()
    cluster.later(10)
    assert reason(cluster.settle()) == ("Pending", "NameTaken")
    del cluster.objects[Reference("Job", "dog-1")]
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_a_foreign_job_that_was_created_first_is_reported_at_the_next_reconciliation() -> None:
    cluster = FakeCluster()
    plan = cluster.decide()
    cluster.add("Job", "dog-0")
    cluster.carry_out(plan)
    assert reason(cluster.settle()) == ("Pending", "NameTaken")
    del cluster.objects[Reference("Job", "dog-0")]
    assert reason(cluster.settle()) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0"]


def test_a_pod_of_an_earlier_dreamboothjob_with_the_same_name_blocks_the_start() -> None:
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


def test_a_refused_write_is_reported_and_retried() -> None:
    cluster = FakeCluster()
    cluster.refusals[Reference("Job", "dog-0")] = "exceeded quota: jobs"
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", "QuotaExceeded")
    assert "Job dog-0: exceeded quota: jobs." in plan.status["message"]
    assert (plan.create[-1]["metadata"]["name"], plan.requeue_after) == ("dog-0", 30)
    cluster.refusals.clear()
    assert reason(cluster.settle()) == ("Starting", "Starting")


TOLERATION = InvalidField("spec.template.spec.tolerations[0].operator", "Invalid value: no.")
LABELS = InvalidField("metadata.labels", "Invalid value: too long.")
SECRETS = InvalidField("spec.template.spec.imagePullSecrets[0].name", "Invalid value: no.")
UNKNOWN = InvalidField("spec.template.spec.volumes", "Too many: no.")


def refusing(*fields: InvalidField) -> FakeCluster:
    cluster = FakeCluster(spec(scheduling={"tolerations": [{"key": "gpu"}]}))
    cluster.refusals[Reference("Job", "dog-0")] = "Job.batch dog-0 is invalid"
    cluster.invalid_fields = list(fields)
    return cluster


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([TOLERATION], "spec.scheduling.tolerations[0]: {'key': 'gpu', 'operator': 'Equal'} makes Job dog-0 invalid"),
        ([SECRETS, TOLERATION], "spec.scheduling.tolerations[0]"),
        ([UNKNOWN], "Job dog-0 that follows from the spec is invalid: spec.template.spec.volumes: Too many: no."),
    ],
)
def test_an_object_that_is_invalid_because_of_the_spec_is_final(fields: list[InvalidField], named: str) -> None:
    cluster = refusing(*fields)
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert named in plan.status["message"]
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and accepted["status"] == "False"
    assert [*plan.check, *plan.apply, *plan.create] == []


@pytest.mark.parametrize("fields", [[], [SECRETS], [LABELS], [SECRETS, UNKNOWN]])
def test_an_object_that_may_be_invalid_for_another_reason_is_retried(fields: list[InvalidField]) -> None:
    assert reason(refusing(*fields).reconcile()) == ("Pending", "Refused")


def test_a_value_of_the_runtime_is_no_problem_of_the_spec() -> None:
    cluster = refusing(InvalidField("spec.template.spec.containers[0].image", "Required value"))
    cluster.publish("big", default=True, image="registry/trainer:1", tolerations=[{"key": "gpu"}])
    assert reason(cluster.reconcile()) == ("Pending", "Refused")


def test_only_objects_of_the_first_attempt_are_checked_before_anything_is_written() -> None:
    cluster = FakeCluster()
    assert [item["kind"] for item in cluster.decide().check] == ["PersistentVolumeClaim", "Job"]
    cluster.fail_attempt()
    cluster.settle()
    cluster.later(300)
    plan = cluster.decide()
    assert ([item["kind"] for item in plan.create], plan.check) == (["Job"], [])
    cluster.refusals[Reference("Job", "dog-1")] = "Job.batch dog-1 is invalid"
    cluster.invalid_fields = [UNKNOWN]
    assert reason(cluster.reconcile()) == ("Pending", "Refused")


def test_what_a_deletion_with_cascade_orphan_left_is_reported_at_once() -> None:
    cluster = running()
    for item in [*cluster.jobs, *(one for one in cluster.objects.values() if "ownerReferences" in one["metadata"])]:
        item["metadata"]["ownerReferences"] = []
    cluster.job["metadata"]["uid"] = "another"
    cluster.job.pop("status")
    plan = cluster.reconcile()
    assert (reason(plan), [event.reason for event in plan.events]) == (
        ("Pending", "OrphanedObjects"),
        ["OrphanedObjects"],
    )
    (objects,) = re.findall("kubectl delete (.*?)\\.", plan.status["message"])
    assert set(objects.split()) == {"job/dog-0", "configmap/dog-config", "networkpolicy/dog"}
    assert [*plan.apply, *plan.create, *plan.delete] == []
    for name in objects.split():
        kind = {"job": "Job", "configmap": "ConfigMap", "networkpolicy": "NetworkPolicy"}[name.partition("/")[0]]
        cluster.objects[Reference(kind, name.partition("/")[2])]["metadata"]["deletionTimestamp"] = "now"
    cluster.collect()
    for pod in cluster.alive():
        cluster.end(pod, 9)
    cluster.collect()
    assert reason(cluster.settle()) == ("Starting", "Starting")


@pytest.mark.parametrize("arrange", [missing_photos, missing_claim, lambda cluster: missing_runtime(cluster)])
def test_an_object_that_does_not_exist_yet_is_no_warning(arrange: Callable[[FakeCluster], None]) -> None:
    cluster = FakeCluster()
    cluster.job["metadata"]["creationTimestamp"] = stamp(cluster.now)
    arrange(cluster)
    plan = cluster.reconcile()
    assert (reason(plan), plan.events, plan.requeue_after) == (("Pending", "WaitingForObjects"), [], 2)
    assert "does not exist" in plan.status["message"]
    cluster.later(15)
    plan = cluster.reconcile()
    assert [event.type for event in plan.events] == ["Warning"]
    assert (reason(plan)[1].endswith("NotFound"), plan.requeue_after) == (True, 15)


def test_an_object_that_must_be_deleted_is_a_warning_at_once() -> None:
    cluster = FakeCluster()
    cluster.job["metadata"]["creationTimestamp"] = stamp(cluster.now)
    missing_photos(cluster)
    foreign_config(cluster)
    plan = cluster.reconcile()
    assert (reason(plan), [event.type for event in plan.events]) == (("Pending", "ConfigMapNotFound"), ["Warning"])
    assert (
        "ConfigMap photos" in plan.status["message"] and "ConfigMap dog-config already exists" in plan.status["message"]
    )


def waits(cluster: FakeCluster, looks: int) -> list[float]:
    """The intervals between looks at something that does not change."""
    found = []
    for _ in range(looks):
        plan = cluster.reconcile()
        assert plan.requeue_after is not None
        found.append(plan.requeue_after)
        cluster.later(plan.requeue_after)
    return found


def missing_runtime(cluster: FakeCluster) -> None:
    cluster.job["spec"]["runtime"] = "big"


def refused_job(cluster: FakeCluster) -> None:
    cluster.refusals[Reference("Job", "dog-0")] = "exceeded quota: jobs"


@pytest.mark.parametrize(
    ("arrange", "first"),
    [(missing_photos, 15), (missing_claim, 15), (missing_runtime, 15), (foreign_config, 15), (refused_job, 30)],
)
def test_checks_for_missing_or_refused_objects_become_rarer(
    arrange: Callable[[FakeCluster], None], first: float
) -> None:
    cluster = FakeCluster()
    arrange(cluster)
    found = waits(cluster, 40)
    assert (found[0], found[-1], sorted(found)) == (first, 300, found)
    again = FakeCluster()
    arrange(again)
    again.job["status"] = cluster.job["status"]
    again.later((cluster.now - again.now).total_seconds())
    assert waits(again, 1) == [300], "a restart does not shorten them"


def test_late_failures_to_attach_volumes_are_seen_until_the_pod_runs() -> None:
    cluster = FakeCluster()
    cluster.settle()
    (pod,) = cluster.alive()
    cluster.wait(pod, "ContainerCreating")
    cluster.later(31)
    found = waits(cluster, 5)
    assert (reason(cluster.reconcile()), sum(found) <= 180) == (("Starting", "ContainerCreating"), True)
    # The controller manager reports it at once, the kubelet after two minutes.
    cluster.mount_failures[pod["metadata"]["name"]] = (
        'Multi-Attach error for volume "pvc-1": already used by a lost node'
    )
    plan = cluster.reconcile()
    assert (reason(plan), "Multi-Attach error" in plan.status["message"]) == (("Starting", "VolumeMountFailed"), True)
    assert plan.requeue_after and plan.requeue_after <= 300
    cluster.mount_failures.clear()
    cluster.run(pod)
    pod["status"] |= {"phase": "Running", "containerStatuses": [{"name": "trainer", "state": {"running": {}}}]}
    plan = cluster.reconcile()
    assert (reason(plan), plan.requeue_after) == (("Running", "Training"), None)
