from typing import Any

import pytest

from dreambooth_operator.decide.policies.leftovers import leftovers
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
    found = leftovers(OWNER, jobs, pods, "dog-1")
    assert (found and found.reason) == (named and "WaitingForLeftovers")
    assert found is None or found.message.startswith(f"{named} must end")
