"""DreamBoothJobs with runtimes."""

from typing import Any

import pytest

from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Plan
from tests.operator.decide.reconcile.story import CLAIM, reason, spec
from tests.operator.fake_cluster import MINIMAL, SETTINGS, FakeCluster, condition

NAMED = spec(runtime="big")
HERE = {"matchLabels": {"team": "vision"}}


def team(cluster: FakeCluster, name: str) -> None:
    """Labels the namespace."""
    cluster.add("Namespace", "space")["metadata"]["labels"] = {"team": name}


def started(plan: Plan) -> dict[str, Any]:
    """The pod template of the created Job."""
    return dict(plan.create[-1]["spec"]["template"]["spec"])


def test_a_dreamboothjob_starts_when_its_runtime_is_created() -> None:
    cluster = FakeCluster(NAMED)
    plan = cluster.reconcile()
    assert (reason(plan), plan.requeue_after, plan.create) == (("Pending", "RuntimeNotFound"), 15, ())
    assert "DreamBoothRuntime big" in plan.status["message"]
    cluster.publish("big", image="trainer:2")
    plan = cluster.reconcile()
    assert reason(plan) == ("Starting", "Starting")
    assert started(plan)["containers"][0]["image"] == "trainer:2"
    assert plan.status["runtime"] == "big"
    assert plan.create[-1]["metadata"]["labels"][names.LABEL_RUNTIME] == "big"
    assert cluster.settle().status["runtime"] == "big"


@pytest.mark.parametrize(
    ("content", "published", "expected"),
    [
        (NAMED, {"big": {"namespaceSelector": {"matchLabels": {"team": "sound"}}}}, "RuntimeForbidden"),
        (NAMED, {"big": {"namespaceSelector": HERE}}, "Starting"),
        (NAMED, {"big": {"unheardOf": 1}}, "RuntimeUnsound"),
        (NAMED, {"other": {"default": True}}, "RuntimeNotFound"),
        (MINIMAL, {"big": {}}, "RuntimeNotNamed"),
        (MINIMAL, {"big": {"default": True}}, "Starting"),
        (MINIMAL, {"big": {"namespaceSelector": {"matchLabels": {"team": "sound"}}}}, "Starting"),
        (MINIMAL, {"big": {"default": True, "unheardOf": 1}}, "RuntimeUnsound"),
    ],
)
def test_which_runtimes_a_dreamboothjob_may_use(
    content: dict[str, Any], published: dict[str, Any], expected: str
) -> None:
    cluster = FakeCluster(content)
    team(cluster, "vision")
    for name, one in published.items():
        cluster.publish(name, **one)
    assert reason(cluster.reconcile())[1] == expected


def test_a_violation_of_the_runtime_fails_the_dreamboothjob_before_it_starts() -> None:
    cluster = FakeCluster(spec(training={"steps": 800}, scheduling={"priorityClassName": "urgent"}))
    cluster.publish("small", default=True, limits={"steps": 400})
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert [*plan.apply, *plan.create] == []
    assert "spec.training.steps: 800 exceeds the limit of the runtime small: 400." in plan.status["message"]
    assert "spec.scheduling.priorityClassName: 'urgent' is not allowed" in plan.status["message"]
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and accepted["status"] == "False"


def test_a_running_attempt_keeps_the_runtime_it_started_with() -> None:
    cluster = FakeCluster(MINIMAL)
    cluster.publish("small", default=True, limits={"activeDeadlineSeconds": 100})
    cluster.settle()
    cluster.run()
    assert cluster.settle().requeue_after == 100
    cluster.runtimes.clear()
    cluster.publish("smaller", default=True, image="other:1", limits={"steps": 1, "activeDeadlineSeconds": 1})
    cluster.later(99)
    plan = cluster.reconcile()
    assert (reason(plan), plan.requeue_after) == (("Running", "Training"), 1)
    cluster.job["spec"]["activeDeadlineSeconds"] = 1000
    cluster.later(1)
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "DeadlineExceeded")
    assert "of its runtime (100)" in plan.status["message"]


def test_the_claim_for_the_cache_of_a_runtime_is_required() -> None:
    cluster = FakeCluster(NAMED)
    cluster.publish("big", volumes={"cache": {"claimName": "models"}})
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", "ClaimNotFound")
    assert "(or its runtime)" in plan.status["message"]
    cluster.add(CLAIM, "models")
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}} in started(cluster.reconcile())[
        "volumes"
    ]


def test_without_a_runtime_the_settings_allow_images() -> None:
    settings = SETTINGS.model_copy(update={"allowed_images": ["registry/*"]})
    for image, expected in {"registry/own:1": "Starting", "elsewhere/own:1": "InvalidConfig"}.items():
        assert reason(FakeCluster(spec(image=image), settings).reconcile())[1] == expected
