"""Helpers to run a DreamBoothJob against a fake cluster."""

import json
from collections.abc import Mapping
from typing import Any

from dreambooth_operator.objects.observed import Plan
from tests.operator.fake_cluster import MINIMAL, FakeCluster, condition

CLAIM = "PersistentVolumeClaim"
DONE = json.dumps({"reason": "Completed", "exitCode": 0, "message": "done", "step": 400, "result": {"subj": 0.8}})


def spec(**more: Any) -> dict[str, Any]:
    return {**MINIMAL, **more}


TWO_NODES = spec(resources={"nodes": 2})
QUEUED = spec(scheduling={"queueName": "team"})


def running(content: Mapping[str, Any] | None = None) -> FakeCluster:
    """A cluster with a DreamBoothJob that is training."""
    cluster = FakeCluster(content)
    cluster.settle()
    cluster.run()
    cluster.settle()
    return cluster


def reason(plan: Plan) -> tuple[str, str]:
    """Phase and reason of a plan."""
    found = condition(plan.status, "Running")
    assert found is not None
    return plan.status["phase"], found["reason"]
