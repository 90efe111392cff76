import json
from typing import Any

import pytest

from dreambooth_operator.decide.status.termination_message import (
    LARGEST,
    TerminationMessage,
    count,
    figures_of,
    rounded,
    termination_message_of,
    text,
)
from tests.operator.pieces import failed_pod, pod


def test_the_termination_message_is_the_json_of_the_trainer() -> None:
    said = {"reason": "StorageFull", "exitCode": 7, "message": "no room\n", "step": 12, "result": {"subj": 0.5}}
    expected = TerminationMessage("StorageFull", "no room", 12, {"subj": 0.5})
    assert termination_message_of(failed_pod(7, json.dumps(said))) == expected


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
def test_other_content_is_no_termination_message(message: str) -> None:
    assert termination_message_of(failed_pod(1, message)) is None


def test_a_running_pod_has_no_termination_message() -> None:
    assert termination_message_of(pod()) is None


@pytest.mark.parametrize("said", [{"message": 3}, {"step": "many"}, {"result": [1]}, {"message": None, "step": True}])
def test_invalid_parts_do_not_affect_the_reason(said: dict[str, Any]) -> None:
    word = termination_message_of(failed_pod(6, json.dumps({"reason": "NonFiniteLoss", **said})))
    assert word is not None
    assert (word.reason, word.step, word.result) == ("NonFiniteLoss", None, {})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["a\nb", 3, "", "c"], ("a b", "c")),
        ("abc", ()),
        (None, ()),
        ({"a": 1}, ()),
        (["x" * 5000], (f"{'x' * 195} ... {'x' * 100}",)),
        (["x"] * 100, ("x",) * 10),
    ],
)
def test_warnings_are_few_short_lines(said: Any, expected: tuple[str, ...]) -> None:
    word = termination_message_of(failed_pod(0, json.dumps({"reason": "Completed", "warnings": said})))
    assert word is not None
    assert word.warnings == expected


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
