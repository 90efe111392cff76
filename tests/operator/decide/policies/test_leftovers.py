from typing import Any

import pytest

from dreambooth_operator.decide.policies.leftovers import blocking_jobs, earlier_objects, orphans
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Reference
from tests.operator.pieces import OWNER, ended, holding, job, pod, running

OVER = holding("Failed")


@pytest.mark.parametrize(
    ("jobs", "pods", "named"),
    [
        ([], [], None),
        ([job(0, OVER)], [pod("Failed", ended(9))], None),
        ([job(0, OVER, left=0)], [], None),
        ([job(0, OVER, owner="earlier")], [], None),
        ([job(0)], [], "Job dog-0"),
        ([job(0, left=0)], [], "Job dog-0"),
        ([job(0, owner="earlier")], [], "Job dog-0"),
        ([job(1, OVER, owner="earlier")], [], "Job dog-1"),
        ([job(1, OVER, left=0)], [], "Job dog-1"),
        ([], [pod("Running", running())], "Pod dog-0-0"),
        ([], [pod("Running", running(), owner="earlier")], "Pod dog-0-0"),
        ([], [pod("Pending", started=None)], "Pod dog-0-0"),
        ([], [pod("Unknown")], "Pod dog-0-0"),
        ([job(0, OVER)], [pod("Succeeded", ended(0)), pod("Running", running(), index=1)], "Pod dog-0-1"),
    ],
)
def test_pods_and_jobs_that_block_the_next_attempt(
    jobs: list[dict[str, Any]], pods: list[dict[str, Any]], named: str | None
) -> None:
    found = earlier_objects(OWNER, blocking_jobs(OWNER, jobs, "dog-1"), pods, [])
    assert [one.reason for one in found] == (["WaitingForLeftovers"] if named else [])
    assert not found or found[0].message.startswith(f"{named} must end")


def without_owner(number: int = 0, *conditions: dict[str, Any], label: str = "dog", **more: Any) -> dict[str, Any]:
    item = job(number, *conditions, **more)
    item["metadata"]["ownerReferences"] = []
    item["metadata"]["labels"][LABEL_JOB] = label
    return item


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([], []),
        ([without_owner()], ["dog-0"]),
        ([without_owner(1, OVER)], ["dog-1"]),
        ([without_owner(0, OVER)], []),
        ([without_owner(left=0)], []),
        ([without_owner(label="cat")], []),
        ([job(0, owner="earlier")], []),
        ([job(0), without_owner(1)], ["dog-1"]),
    ],
)
def test_orphans_are_jobs_without_an_owner_that_block(jobs: list[dict[str, Any]], expected: list[str]) -> None:
    found = orphans(OWNER, blocking_jobs(OWNER, jobs, "dog-1"), {})
    assert found == [Reference("Job", name) for name in expected]


def test_the_pods_of_an_orphan_are_not_reported_again() -> None:
    pods = [pod("Running", running()), pod("Running", running(), index=1, owner="another")]
    found = earlier_objects(OWNER, [without_owner()], pods, [Reference("Job", "dog-0")])
    assert [one.reason for one in found] == ["OrphanedObjects", "WaitingForLeftovers"]
    assert "kubectl delete job/dog-0." in found[0].message and found[1].message.startswith("Pod dog-0-1 must end")
