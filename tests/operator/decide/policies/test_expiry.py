from typing import Any

import pytest

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.policies.expiry import expiry_of
from tests.operator.pieces import OWNER, at

ENDED = DreamBoothJobStatus(completion_time=at(10))


@pytest.mark.parametrize(("seconds", "expected"), [(0, 10), (50, 60), (10**30, 10 + 10**9)])
def test_a_dreamboothjob_expires_some_time_after_its_end(seconds: int, expected: float) -> None:
    assert expiry_of({**OWNER, "spec": {"ttlSecondsAfterFinished": seconds}}, ENDED) == at(expected)


@pytest.mark.parametrize("seconds", [None, -1, True, 1.5, "60", []])
def test_it_never_expires_without_a_valid_ttl(seconds: Any) -> None:
    assert expiry_of({**OWNER, "spec": {"ttlSecondsAfterFinished": seconds}}, ENDED) is None


@pytest.mark.parametrize("owner", [{"metadata": {}}, {"spec": None}, {"spec": []}, {"spec": {}}])
def test_it_never_expires_without_a_valid_spec(owner: dict[str, Any]) -> None:
    assert expiry_of(owner, ENDED) is None


def test_a_dreamboothjob_that_has_not_ended_does_not_expire() -> None:
    assert expiry_of({**OWNER, "spec": {"ttlSecondsAfterFinished": 0}}, DreamBoothJobStatus()) is None
