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


@pytest.mark.parametrize("content", [None, [], {}, {"subject": 3}, {"resources": {"nodes": []}}])
def test_no_spec_stops_the_operator(content: Any) -> None:
    cluster = FakeCluster()
    cluster.job["spec"] = content
    assert reason(cluster.reconcile()) == ("Failed", "InvalidConfig")
    assert cluster.reconcile().events == ()


def test_an_invalid_spec_stops_a_running_attempt() -> None:
    cluster = running()
    cluster.job["spec"]["training"] = {"steps": -1}
    plan = cluster.reconcile()
    assert plan.delete == [Reference("Job", "dog-0")]
    assert [event.reason for event in plan.events] == ["InvalidConfig"]
    assert plan.status["attempts"][0]["reason"] == "InvalidConfig"


def test_the_observed_generation_is_updated_after_the_end() -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.settle()
    cluster.job["metadata"]["generation"] = 2
    cluster.job["spec"]["retries"] = 5
    assert cluster.settle().status["observedGeneration"] == 2
