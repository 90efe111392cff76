"""docs/troubleshooting.md has each reason that a DreamBoothJob or DreamBoothScene can show."""

import re
from pathlib import Path

from dreambooth_api import failures
from dreambooth_operator.decide.status import reasons

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
QUIET = {"Sound", "Resumed", "Complete"}
"""Reasons that need no explanation."""


def reasons_of_tables() -> set[str]:
    """Words of the first column of all tables of reasons."""
    tables = PAGE[PAGE.index("## Reasons of a DreamBoothJob") :]
    cells = re.findall(r"^\| (`.*?) \|", tables, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def possible_reasons() -> set[str]:
    found = {value.reason for value in vars(reasons).values() if isinstance(value, reasons.Reason)}
    found |= {
        kind.__name__
        for kind in vars(failures).values()
        if isinstance(kind, type) and issubclass(kind, failures.TrainerFailure) and hasattr(kind, "exit_code")
    }
    return found - QUIET


def test_each_reason_has_a_row() -> None:
    assert possible_reasons() - reasons_of_tables() == set()


def test_each_row_has_a_reason() -> None:
    # Ends of an attempt that only the operator can see have no `Reason` of their own.
    assert reasons_of_tables() - possible_reasons() == {"Stalled", "StoppedUnexpectedly", "InternalError"}
