from pathlib import Path

from benchmarks.cases import Case, Program
from benchmarks.results import COLUMNS, Results, spread, table

CASE = Case(Program.SCRIPT, "dog", 0, False)


def test_a_result_is_found_again_with_the_same_settings_only(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    assert results.find(CASE, "key") is None
    results.add(CASE, "key", "qzx", 12.5, {"keep": None, "subjShare": 0.8})
    assert Results(tmp_path / "results").find(CASE, "key") == {"keep": None, "subjShare": 0.8}
    assert results.find(CASE, "other key") is None


def test_the_spread_is_that_of_the_values_that_are_defined() -> None:
    assert spread([0.7, None, 0.9]) == "0.800 ± 0.141"
    assert spread([0.7, None]) == "0.700"
    assert spread([None]) == "-"


def test_the_table_has_a_row_for_each_program_with_and_without_prior_preservation() -> None:
    figures = dict.fromkeys(COLUMNS, 0.5)
    finished = {
        Case(program, subject, 0, prior): {**figures, "keep": keep}
        for program, subject, prior, keep in (
            (Program.SCRIPT, "dog", False, 0.5),
            (Program.SCRIPT, "dog", True, 0.9),
            (Program.FULL, "dog", True, 0.9),
            (Program.FULL, "teapot", True, 0.8),
        )
    }
    rows = [line.split(" | ") for line in table(finished).splitlines()[2:]]
    assert [(row[0], row[1], row[2], row[6]) for row in rows] == [
        ("| full", "yes", "2", "0.850 ± 0.071"),
        ("| script", "yes", "1", "0.900"),
        ("| script", "no", "1", "0.500"),
    ]
