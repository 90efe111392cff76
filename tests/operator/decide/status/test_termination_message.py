import json
from typing import Any

import pytest

from dreambooth_operator.decide.status.termination_message import (
    LARGEST,
    LastWord,
    count,
    figures_of,
    last_word,
    rounded,
    text,
)
from tests.operator.pieces import failed_pod, pod


def test_the_last_word_is_the_json_that_the_trainer_wrote() -> None:
    said = {"reason": "StorageFull", "exitCode": 7, "message": "no room\n", "step": 12, "result": {"subj": 0.5}}
    expected = LastWord("StorageFull", "no room", 12, {"subj": 0.5})
    assert last_word(failed_pod(7, json.dumps(said))) == expected


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Traceback (most recent call last): ...",
        "null",
        "[]",
        '"Completed"',
        "{}",
        '{"reason": "Bored"}',
        '{"reason": null}',
        '{"reason": ["Completed"]}',
        '{"reason": {"Completed": 1}}',
        "[" * 100_000,
        "9" * 5000,
    ],
    ids=lambda message: repr(message[:24]),
)
def test_what_the_trainer_did_not_write_is_no_last_word(message: str) -> None:
    assert last_word(failed_pod(1, message)) is None


def test_a_pod_whose_trainer_has_not_ended_said_nothing() -> None:
    assert last_word(pod()) is None


@pytest.mark.parametrize("said", [{"message": 3}, {"step": "many"}, {"result": [1]}, {"message": None, "step": True}])
def test_parts_that_can_not_be_do_not_spoil_the_reason(said: dict[str, Any]) -> None:
    word = last_word(failed_pod(6, json.dumps({"reason": "NonFiniteLoss", **said})))
    assert word is not None
    assert (word.reason, word.step, word.result) == ("NonFiniteLoss", None, {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), (-3, 0), (10**30, LARGEST), (True, None), (1.5, None), ("3", None), (None, None)],
)
def test_counts(value: Any, expected: int | None) -> None:
    assert count(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.123456, 0.1235),
        (123456, 123500.0),
        (float("nan"), None),
        (float("-inf"), None),
        (10**400, None),
        (True, None),
        ("0.5", None),
    ],
)
def test_numbers_have_four_digits(value: Any, expected: float | None) -> None:
    assert rounded(value) == expected


@pytest.mark.parametrize(("value", "expected"), [("a\nb", "a b"), (" ", None), ("", None), (3, None), (None, None)])
def test_texts_are_one_line(value: Any, expected: str | None) -> None:
    assert text(value) == expected


def test_long_texts_are_cut() -> None:
    assert len(text("x" * 5000) or "") == 200


def test_figures_are_numbers_with_short_names_and_not_too_many() -> None:
    assert figures_of({"subj": 0.81234, "model": "folder", "nan": float("nan"), "x" * 64: 1, "a\nb": 1}) == {
        "subj": 0.8123
    }
    assert len(figures_of({f"figure{number}": number for number in range(1000)})) == 40
