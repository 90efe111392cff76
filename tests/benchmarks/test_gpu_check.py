import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.check import Result, State, last_line, section
from benchmarks.gpu.found import SKIPPED_CODE, PytestSummary, Settings, pytest_summary, speeds
from benchmarks.gpu.parts import main
from benchmarks.speed import Measured

OUTPUT = """
tests/trainer/test_a.py::test_one PASSED  [ 50%]
=========================== short test summary info ============================
FAILED tests/trainer/test_a.py::test_two[fp16,stage] - AssertionError: 3 in 4
ERROR tests/trainer/test_b.py::test_three - OSError: 2 failed in 3.0s
========= 1 failed, 531 passed, 3 skipped, 9 warnings, 1 error in 33.21s (0:00:33) =========
"""


def test_the_end_of_pytest_is_read() -> None:
    ended = pytest_summary(OUTPUT)
    assert ended.counts == {"failed": 1, "passed": 531, "skipped": 3, "warnings": 9, "error": 1}
    assert ended.failing == ["tests/trainer/test_a.py::test_two[fp16,stage]", "tests/trainer/test_b.py::test_three"]
    assert pytest_summary("1 passed in 0.1s\n").counts == {"passed": 1}
    assert pytest_summary("killed\n") == PytestSummary({}, [])


def test_five_failing_tests_are_named() -> None:
    assert PytestSummary({"failed": 6}, list("abcdef")).summary == "6 failed: a; b; c; d; e ..."
    assert PytestSummary({"passed": 2}, []).summary == "2 passed"
    assert PytestSummary({}, []).summary == "no summary"


def measured(program: str, rate: float, steady: float | None) -> Measured:
    return Measured(program, 1, 4, 100, 20, 2, rate, 3, None, steady)


def test_speeds_are_reported_relative_to_the_script() -> None:
    text = speeds([measured("script", 4, 4.5), measured("defaults", 8, 22.5)])
    assert text.startswith(
        "steps/s: script 4.00, defaults 8.00 (2.00x); last half: script 4.50, defaults 22.50 (5.00x)"
    )
    assert "GPU" not in text
    assert speeds([measured("defaults", 8, None)]).startswith("steps/s: defaults 8.00; class images/s")


RESULT = Result("tests", State.OK, 33.4, "531 passed", {}, table="| a |")


def test_a_result_is_a_line_and_a_row() -> None:
    assert RESULT.line() == "tests      ok         33 s  531 passed"
    assert RESULT.line(pretend=True).startswith("pretend  tests")
    machine = {"date": "2026-11-26 12:00", "card": "NVIDIA X", "torch": "2.11.0", "diffusers": "0.42.1"}
    text = section(machine, [RESULT])
    assert text.startswith("## 2026-11-26 12:00: NVIDIA X\n\ntorch 2.11.0, diffusers 0.42.1.\n")
    assert "| tests | ok | 33 | 531 passed |\n\n| a |\n" in text


def test_the_last_line_that_was_written(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Traceback\n  ValueError: no\n\n")
    assert last_line(log) == "ValueError: no"
    log.write_text("")
    assert last_line(log) == ""


def test_a_part_that_lacks_something_is_skipped_with_the_reason(tmp_path: Path) -> None:
    settings = Settings(pretend=True, script=None, work=str(tmp_path), text_encoder=False, seconds=60)
    assert main("speed-1", str(tmp_path / "found.json"), json.dumps(asdict(settings))) == SKIPPED_CODE
    assert json.loads((tmp_path / "found.json").read_text())["summary"] == "no --script"
