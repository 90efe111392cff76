from dataclasses import replace
from typing import Any

import pytest

from dreambooth_operator.decide.reconcile import reconcile
from dreambooth_operator.kube.trimming import TEXT_LENGTH, trimmed
from dreambooth_operator.objects import names
from tests.operator.decide.reconcile.story import reason, spec
from tests.operator.fake_cluster import FakeCluster
from tests.operator.objects_of import dreambooth_job, job, pod
from tests.operator.pieces import failed_pod, holding

MEGABYTE = "x" * 2**20


def size(value: Any) -> int:
    return len(repr(value))


def assert_same(cluster: FakeCluster) -> None:
    whole = cluster.observe()
    less = replace(whole, jobs=list(map(trimmed, whole.jobs)), pods=list(map(trimmed, whole.pods)))
    assert not whole.pods or size(less.pods) + size(less.jobs) < (size(whole.pods) + size(whole.jobs)) / 2
    before = reconcile(whole, cluster.now, cluster.settings)
    assert reconcile(less, cluster.now, cluster.settings) == before


@pytest.mark.parametrize("content", [{}, {"scheduling": {"queueName": "team"}}, {"resources": {"nodes": 2}}], ids=str)
@pytest.mark.parametrize("code", [0, 5, 7, 9, 137])
def test_decisions_are_the_same_with_trimmed_objects(code: int, content: dict[str, Any]) -> None:
    cluster = FakeCluster(spec(**content))
    cluster.publish("small", default=True, limits={"activeDeadlineSeconds": 100}, queueNames=["team"])
    for _ in range(2):
        cluster.settle()
        assert_same(cluster)
        if content.get("scheduling"):
            cluster.current["spec"]["suspend"] = False
            cluster.settle()
        cluster.run()
        assert_same(cluster)
        cluster.settle()
        cluster.later(20)
        for one in cluster.alive():
            cluster.end(one, code, "out of room", reason="OOMKilled" if code == 137 else "")
            assert_same(cluster)
        cluster.control()
        assert_same(cluster)


def test_decisions_about_unbound_claims_are_the_same_with_trimmed_objects() -> None:
    cluster = FakeCluster(spec(volumes={"cache": {"claimName": "shelf"}}))
    cluster.add("PersistentVolumeClaim", "shelf")
    cluster.settle()
    cluster.later(60)
    cluster.unbound_claims = {"shelf": "no such class"}
    assert reason(cluster.decide()) == ("Pending", "ClaimUnbound")
    assert_same(cluster)


def test_a_large_pod_of_a_tenant_becomes_small() -> None:
    item = pod(job(dreambooth_job()))
    item["metadata"] |= {"annotations": {"a": MEGABYTE}, "finalizers": [MEGABYTE]}
    item["metadata"]["labels"] |= {f"label-{number}": "x" * 60 for number in range(10_000)}
    item["metadata"]["ownerReferences"] += [{"uid": f"uid-{number}", "kind": MEGABYTE} for number in range(9)]
    item["spec"] = {"containers": [{"name": "trainer", "image": MEGABYTE, "env": [{"name": "A", "value": MEGABYTE}]}]}
    volume = {"name": MEGABYTE, "persistentVolumeClaim": {"claimName": MEGABYTE[:253]}}
    item["spec"]["volumes"] = [{"name": MEGABYTE}, *[volume] * 1000]
    conditions = [holding("Ready", message=MEGABYTE) for _ in range(1000)]
    item["status"] |= {"conditions": conditions, "hostIPs": [{"ip": "192.0.2.1"}] * 1000}
    kept = trimmed(item)
    assert size(kept) < 30 * TEXT_LENGTH
    assert kept["metadata"]["labels"] == {names.LABEL_JOB: "dog", names.LABEL_INDEX: "0"}
    assert [one["uid"] for one in kept["metadata"]["ownerReferences"]] == ["uid-dog-0"]


def test_what_the_trainer_reported_is_kept() -> None:
    item = failed_pod(7, "full", conditions=[holding("DisruptionTarget", reason="TerminationByKubelet")])
    item["status"]["containerStatuses"].insert(0, {"name": "proxy", "state": {"running": {}}})
    kept = trimmed(item)
    (own,) = kept["status"]["containerStatuses"]
    assert (own["name"], own["state"]["terminated"]["message"]) == ("trainer", "full")
    assert kept["status"]["conditions"] == item["status"]["conditions"]
    assert kept["spec"]["containers"][0]["resources"] == {"limits": {"memory": "16Gi"}}


def test_last_applied_manifests_are_not_kept() -> None:
    item = dreambooth_job()
    item["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": MEGABYTE}
    assert size(trimmed(item)) < 1000


def test_of_the_managers_of_fields_those_of_the_status_are_kept() -> None:
    item = dreambooth_job()
    status = {"manager": "dreambooth-operator/a/b", "subresource": "status", "time": "2026-01-01T00:00:00Z"}
    item["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}, status | {"fieldsV1": {}}]
    assert trimmed(item)["metadata"]["managedFields"] == [status]
    assert "managedFields" not in trimmed(dreambooth_job())["metadata"]
