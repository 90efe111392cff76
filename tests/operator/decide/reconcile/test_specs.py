"""Invalid specs, and specs of later generations."""

from typing import Any

import pytest

from dreambooth_operator.objects.observed import Reference
from tests.operator.decide.reconcile.story import DONE, reason, running, spec
from tests.operator.fake_cluster import FakeCluster, condition


def test_an_invalid_spec_fails_at_once_and_permanently() -> None:
    cluster = FakeCluster(spec(training={"steps": "many"}))
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert "spec.training.steps: 'many'" in plan.status["message"]
    assert [*plan.apply, *plan.create] == []
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and (accepted["status"], accepted["reason"]) == ("False", "InvalidConfig")
    cluster.job["spec"] = spec()
    assert reason(cluster.reconcile()) == ("Failed", "InvalidConfig")


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"subject": 3},
        {"model": {"source": "embedded://emoji"}, "subject": {}},
        {"subject": {"class": "dog"}},
        {"subject": {"class": "dog", "images": {"configMap": {}}}},
        {"volumes": {"cache": {}}},
        {"resources": {"nodes": []}},
    ],
    ids=str,
)
def test_no_spec_stops_the_operator(content: Any) -> None:
    cluster = FakeCluster()
    cluster.job["spec"] = content
    assert reason(cluster.reconcile()) == ("Failed", "InvalidConfig")
    assert cluster.reconcile().events == ()


NEWER: list[dict[str, Any]] = [
    {"notify": {"channel": "team"}},
    {"notify": None},
    {"training": {"method": "dora"}},
    {"training": {"steps": 400, "schedule": "cosine"}},
    {"subject": {"class": "dog", "images": {"configMap": {"name": "photos"}, "sorted": True}}},
    {"subject": {"class": "dog", "images": {"bucket": {"name": "photos"}}}},
    {"resources": {"gpusPerNode": 1, "network": "rdma"}},
    {"volumes": {"output": {"create": {"size": "20Gi", "accessModes": ["ReadOnlyMany"]}}}},
    {"scheduling": {"tolerations": [{"key": "gpu", "operator": "Lt"}]}},
]
INVALID: list[Any] = [
    None,
    [],
    {},
    {"training": {"steps": -1}},
    {"training": 3},
    {"subject": 3},
    {"subject": {"class": "dog"}},
    {"volumes": {"cache": {}}},
    {"resources": {"nodes": []}},
]


def with_spec(cluster: FakeCluster, content: Any) -> None:
    cluster.job["spec"] = {**cluster.job["spec"], **content} if content else content
    cluster.job["metadata"]["generation"] += 1


@pytest.mark.parametrize("content", [*NEWER, *INVALID], ids=str)
def test_nothing_in_the_spec_ends_a_running_attempt(content: Any) -> None:
    cluster = running()
    cluster.job["spec"]["resources"] = {"gpusPerNode": 1}
    with_spec(cluster, content)
    plan = cluster.reconcile()
    assert (reason(plan), plan.delete, plan.apply) == (("Running", "Training"), [], [])
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and accepted["status"] == "False"
    assert accepted["reason"] == ("NewerSpec" if content in NEWER else "InvalidConfig")
    cluster.later(60)
    cluster.end(cluster.alive()[0], 0, DONE)
    plan = cluster.settle()
    assert reason(plan) == ("Complete", "Complete")
    assert (plan.status["result"]["claimName"], plan.status["result"]["path"]) == ("dog", "dog")
    if content != {"resources": {"nodes": []}}:
        assert plan.status["gpuSeconds"] == 60


@pytest.mark.parametrize("content", NEWER, ids=str)
def test_a_newer_spec_waits_for_a_newer_operator(content: dict[str, Any]) -> None:
    cluster = FakeCluster(spec(**content))
    plan = cluster.settle()
    assert (reason(plan), plan.requeue_after) == (("Pending", "NewerSpec"), None)
    assert "newer than this operator" in plan.status["message"]
    assert f"spec.{next(iter(content))}" in plan.status["message"]
    assert (cluster.jobs, [event.reason for event in cluster.events]) == ([], ["NewerSpec"])
    cluster.job["spec"] = spec()  # stands for an operator that knows the field
    plan = cluster.settle()
    assert reason(plan) == ("Starting", "Starting")
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and accepted["status"] == "True"


def test_no_further_attempt_starts_with_a_newer_spec() -> None:
    cluster = running()
    with_spec(cluster, NEWER[0])
    cluster.fail_attempt()
    assert reason(cluster.settle()) == ("Retrying", "BackOff")
    cluster.later(300)
    assert reason(cluster.settle()) == ("Pending", "NewerSpec")
    cluster.job["spec"] = spec()
    assert reason(cluster.settle()) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0", "dog-1"]


def test_suspension_deadline_and_retries_are_read_in_a_newer_spec() -> None:
    cluster = running()
    with_spec(cluster, {**NEWER[0], "suspend": True})
    assert cluster.reconcile().delete == [Reference("Job", "dog-0")]
    cluster = running()
    with_spec(cluster, {**NEWER[0], "activeDeadlineSeconds": 10})
    cluster.later(10)
    assert reason(cluster.reconcile()) == ("Failed", "DeadlineExceeded")
    cluster = running()
    with_spec(cluster, {**NEWER[0], "retries": 0})
    cluster.fail_attempt()
    assert reason(cluster.settle()) == ("Failed", "CommunicationFailure")


def test_a_spec_that_a_newer_operator_has_accepted_is_not_invalid() -> None:
    cluster = running()
    cluster.job["spec"]["training"] = {"steps": 10**9}  # a newer schema has another bound
    for _ in range(2):
        plan = cluster.settle()
        accepted = condition(plan.status, "Accepted")
        assert accepted is not None and (accepted["status"], accepted["reason"]) == ("False", "NewerSpec")
    cluster.fail_attempt()
    cluster.later(300)
    assert reason(cluster.settle()) == ("Pending", "NewerSpec")


def test_fields_of_the_status_that_a_newer_operator_wrote_are_kept() -> None:
    cluster = running()
    cluster.job["status"]["novelty"] = {"seconds": 3}
    cluster.later(5)
    cluster.end(cluster.alive()[0], 0, DONE)
    plan = cluster.settle()
    assert (plan.status["phase"], plan.status["novelty"]) == ("Complete", {"seconds": 3})


def test_the_observed_generation_is_updated_after_the_end() -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.settle()
    cluster.job["metadata"]["generation"] = 2
    cluster.job["spec"]["retries"] = 5
    assert cluster.settle().status["observedGeneration"] == 2
