from copy import deepcopy
from typing import Any

import pytest

from dreambooth_api.status import DreamBoothJobStatus
from dreambooth_operator.decide.status.stored import stored_status
from tests.operator.pieces import OWNER, at

NEW = DreamBoothJobStatus()
FIRST = {"number": 0, "jobName": "dog-0"}
TIMES = ["startTime", "completionTime", "gpusHeldSince"]


def stored(status: Any) -> DreamBoothJobStatus:
    return stored_status({**OWNER, "status": status})


def test_a_dreamboothjob_without_a_status_has_an_empty_one() -> None:
    assert stored_status(OWNER) == NEW


@pytest.mark.parametrize("status", [None, {}, [], "Running", 3, [1, 2]])
def test_an_invalid_status_is_an_empty_one(status: Any) -> None:
    assert stored(status) == NEW


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": "two words"},
        {"conditions": {"Running": True}},
        {"attempts": None},
        {"progress": {"percent": "much"}},
        {"progress": []},
        {"result": {"claimName": "dog", "path": "dog", "figures": {"subj": "good"}}},
        {"gpuSeconds": 1.5},
        {"gpuSeconds": -1},
        {"suspendedSeconds": -1},
        {"progress": {"percent": 101}},
        {"progress": {"step": -1}},
        *({name: value} for name in TIMES for value in ("soon", 10**30, [])),
    ],
    ids=str,
)
def test_an_invalid_field_is_removed_and_the_others_are_kept(wrong: dict[str, Any]) -> None:
    assert stored({"failures": 2, "message": "x", **wrong}) == DreamBoothJobStatus(failures=2, message="x")


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("time", ["2026-01-02T03:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_times_out_of_range_are_removed(name: str, time: str) -> None:
    assert stored({name: time}) == NEW


def test_times_keep_their_offset() -> None:
    assert stored({"startTime": "2026-01-02T05:00:00+02:00"}).start_time == at(0)


@pytest.mark.parametrize(
    "wrong",
    [{}, 3, None, {"number": "first", "jobName": "dog-0"}, {**FIRST, "number": -1}, {**FIRST, "startTime": "soon"}],
    ids=str,
)
def test_an_invalid_entry_of_a_list_is_removed_and_the_others_are_kept(wrong: Any) -> None:
    attempts = [wrong, FIRST, wrong, wrong, {**FIRST, "number": 1}, wrong]
    assert [attempt.number for attempt in stored({"attempts": attempts}).attempts] == [0, 1]


def test_unknown_fields_are_ignored() -> None:
    assert stored({"mood": "good", "failures": 1, "attempts": [{**FIRST, "mood": "good"}]}).failures == 1


def test_the_object_is_not_modified() -> None:
    job = {**OWNER, "status": {"phase": "Lunch", "attempts": [{}, FIRST]}}
    before = deepcopy(job)
    stored_status(job)
    assert job == before
