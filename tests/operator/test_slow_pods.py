from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dreambooth_operator.slow_pods import ASKED, PATIENCE, awaiting_volumes

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def waiting(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason}}}]}


def pod(waited: float = 31, phase: str = "Pending", scheduled: str = "True", **status: Any) -> dict[str, Any]:
    since = (NOW - timedelta(seconds=waited)).isoformat().replace("+00:00", "Z")
    conditions = [{"type": "Initialized", "status": "True"}]
    conditions.append({"type": "PodScheduled", "status": scheduled, "lastTransitionTime": since})
    return {"metadata": {"name": "dog-0-0"}, "status": {"phase": phase, "conditions": conditions, **status}}


@pytest.mark.parametrize(
    ("described", "asked"),
    [
        (pod(**waiting("ContainerCreating")), True),
        (pod(), True),
        (pod(waited=PATIENCE.total_seconds() - 1, **waiting("ContainerCreating")), False),
        (pod(**waiting("ImagePullBackOff")), False),
        (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), False),
        (pod(scheduled="False"), False),
        ({"metadata": {"name": "dog-0-0"}, "status": {"phase": "Pending"}}, False),
        ({"metadata": {"name": "dog-0-0"}}, False),
    ],
)
def test_pods_that_have_a_node_and_no_container_for_long_are_asked_about(
    described: dict[str, Any], asked: bool
) -> None:
    assert awaiting_volumes([described], NOW) == (["dog-0-0"] if asked else [])


def test_of_many_pods_only_some_are_asked_about() -> None:
    assert len(awaiting_volumes([pod()] * (ASKED + 1), NOW)) == ASKED
