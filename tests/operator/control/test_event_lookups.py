from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dreambooth_operator.control.event_lookups import (
    GRACE_PERIOD,
    MAX_CLAIMS,
    MAX_PODS,
    claims_lacking_volumes,
    jobs_lacking_pods,
    pods_lacking_volumes,
)
from tests.operator import pieces
from tests.operator.pieces import UID, at, holding

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
        (pod(waited=GRACE_PERIOD.total_seconds() - 1, **waiting("ContainerCreating")), False),
        (pod(**waiting("ImagePullBackOff")), False),
        (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), False),
        (pod(scheduled="False"), False),
        ({"metadata": {"name": "dog-0-0"}, "status": {"phase": "Pending"}}, False),
        ({"metadata": {"name": "dog-0-0"}}, False),
    ],
)
def test_pods_without_a_container_after_the_grace_period_are_found(described: dict[str, Any], asked: bool) -> None:
    assert pods_lacking_volumes([described], NOW) == (["dog-0-0"] if asked else [])


def test_the_number_of_pods_is_limited() -> None:
    assert len(pods_lacking_volumes([pod()] * (MAX_PODS + 1), NOW)) == MAX_PODS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["dog", "cache"]),
        ({"created": 1}, []),
        ({"started": 0}, []),
        ({"phase": "Running"}, []),
        ({"node": "a"}, []),
    ],
)
def test_claims_of_pods_without_a_node_are_found(change: dict[str, Any], expected: list[str]) -> None:
    described = pieces.pod(
        change.get("phase", "Pending"), created=change.get("created", 0), started=change.get("started")
    )
    volumes = [{"persistentVolumeClaim": {"claimName": name}} for name in ("dog", "cache", "dog")]
    described["spec"] = {"volumes": [*volumes, {"emptyDir": {}}], **({"nodeName": "a"} if "node" in change else {})}
    assert claims_lacking_volumes([described], at(GRACE_PERIOD.total_seconds())) == expected


def test_the_number_of_claims_is_limited() -> None:
    described = pieces.pod("Pending", started=None)
    described["spec"] = {"volumes": [{"persistentVolumeClaim": {"claimName": f"claim-{n}"}} for n in range(20)]}
    assert len(claims_lacking_volumes([described], at(1000))) == MAX_CLAIMS


def made(number: int = 0, *conditions: Any, suspend: bool = False, parallelism: int = 1, **more: Any) -> dict[str, Any]:
    return pieces.job(number, *conditions, spec={"suspend": suspend, "parallelism": parallelism}, **more)


@pytest.mark.parametrize(
    ("jobs", "pods", "expected"),
    [
        ([made()], [], {"dog-0": at(0)}),
        ([made()], [pieces.pod()], {}),
        ([made()], [pieces.pod("Succeeded")], {}),
        ([made()], [pieces.pod("Failed", created=20)], {"dog-0": at(20)}),
        ([made(parallelism=2)], [pieces.pod(created=10)], {"dog-0": at(10)}),
        ([made(suspend=True)], [], {}),
        ([made(0, holding("Suspended"))], [], {}),
        ([made(0, holding("Failed"))], [], {}),
        ([made(owner="uid-of-another")], [], {}),
        ([made(0), made(1)], [], {"dog-1": at(0)}),
        ([], [], {}),
    ],
)
def test_a_job_that_lacks_pods_after_the_grace_period_is_found(jobs: Any, pods: Any, expected: Any) -> None:
    assert jobs_lacking_pods(UID, jobs, pods, at(30)) == expected
    assert jobs_lacking_pods(UID, jobs, pods, at(29)) == {}
