import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_api.failures import InvalidData, ModelUnavailable, OutOfMemory, Problem
from dreambooth_trainer.process.termination import LIMIT, Outcome, encode, outcome_of, redact, write_termination


def test_a_completed_run(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    write_termination(log, Outcome("Completed", 0, "trained 400 steps", 400, {"subj": 0.81, "pres": float("nan")}))
    assert json.loads(log.read_text()) == {
        "reason": "Completed",
        "exitCode": 0,
        "message": "trained 400 steps",
        "step": 400,
        "result": {"subj": 0.81, "pres": None},
    }


def test_the_file_is_written_in_place(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.write_text("x" * 10_000)
    before = log.stat().st_ino
    tmp_path.chmod(0o500)
    try:
        write_termination(log, Outcome("Completed", 0, "done"))
    finally:
        tmp_path.chmod(0o700)
    assert log.stat().st_ino == before
    assert os.listdir(tmp_path) == [log.name]
    assert json.loads(log.read_text())["message"] == "done"


def test_a_log_that_cannot_be_written_is_only_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write_termination(tmp_path, Outcome("Completed", 0, "done"))
    assert str(tmp_path) in caplog.text


@given(st.text(st.characters(), max_size=50), st.integers(1, 2000))
def test_any_message_fits(text: str, times: int) -> None:
    message = text * times
    content = encode(Outcome("InternalError", 1, message, 3, {"subj": 0.5}))
    assert len(content) < 4096
    read = json.loads(content.decode("utf-8"))["message"]
    if read != message.encode("utf-8", "replace").decode():
        assert " ... " in read
        assert len(content) > LIMIT - 40, "it is cut more than necessary"


@pytest.mark.parametrize("letter", ["a", "é", "🐕", "\n", "\x00", '"', "\ud800"])
def test_a_long_message_keeps_its_beginning_and_its_end(letter: str) -> None:
    content = encode(
        Outcome("OutOfMemory", 5, "CUDA out of memory. " + letter * 100_000 + " Lower training.batchSize.")
    )
    message = json.loads(content)["message"]
    assert LIMIT - 40 < len(content) <= LIMIT
    assert message.startswith("CUDA out of memory. ")
    assert message.endswith(" Lower training.batchSize.")


def test_figures_are_shortened_before_the_message() -> None:
    content = json.loads(encode(Outcome("Completed", 0, "done", 1, {f"figure{i}": i for i in range(1000)})))
    assert (content["message"], content["result"]) == ("done", {})


def test_failures_keep_their_class() -> None:
    problem = Problem("spec.subject.images", "rex.jpg", "is no picture", "Take it away")
    outcome = outcome_of(InvalidData([problem]), {})
    assert (outcome.reason, outcome.exit_code) == ("InvalidData", 3)
    assert outcome.message == str(problem)


def test_wrapped_errors_are_classified() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise RuntimeError("the step failed") from error
    except RuntimeError as error:
        outcome = outcome_of(error, {})
    assert (outcome.reason, outcome.exit_code) == ("OutOfMemory", OutOfMemory.exit_code)


def test_ctrl_c_is_an_interruption() -> None:
    outcome = outcome_of(KeyboardInterrupt(), {})
    assert (outcome.reason, outcome.exit_code) == ("Interrupted", 9)


def test_other_errors_are_the_trainers_own() -> None:
    outcome = outcome_of(ZeroDivisionError("division by zero"), {})
    assert outcome == Outcome("InternalError", 1, "ZeroDivisionError: division by zero")


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
@pytest.mark.parametrize("error", [ModelUnavailable, ValueError])
def test_the_token_of_the_hub_is_never_revealed(variable: str, error: type[Exception]) -> None:
    outcome = outcome_of(error("401 for https://me:hf_secret@hub, Bearer hf_secret"), {variable: "hf_secret\n"})
    assert "hf_secret" not in outcome.message
    assert outcome.message.endswith("401 for https://me:***@hub, Bearer ***")


def test_a_token_that_contains_another_is_hidden_completely() -> None:
    environment = {"HF_TOKEN": "hf_a", "HUGGING_FACE_HUB_TOKEN": "hf_abc"}
    assert redact("hf_abc, hf_a", environment) == "***, ***"


def test_an_empty_token_hides_nothing() -> None:
    assert redact("all well", {"HF_TOKEN": " "}) == "all well"


@pytest.mark.parametrize("letter", ["a", "🐕", "\x00"])
def test_the_last_warnings_are_omitted_before_anything_else(letter: str) -> None:
    warnings = [f"{number} {letter * 298}" for number in range(10)]
    figures = {f"figure{number}": 0.123456789 for number in range(20)}
    content = encode(Outcome("Completed", 0, "the model is in /output/dog/model", 400, figures, warnings))
    read = json.loads(content)
    assert len(content) <= LIMIT
    assert (read["message"], read["result"]) == ("the model is in /output/dog/model", figures)
    assert read["warnings"] == warnings[: len(read["warnings"])] and read["warnings"]


def test_a_message_that_leaves_no_space_has_no_warnings() -> None:
    read = json.loads(encode(Outcome("InternalError", 1, "x" * 10_000, warnings=["a"])))
    assert "warnings" not in read
    assert " ... " in read["message"]
