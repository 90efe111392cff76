"""The order of the tests: first the files that need no program of the cluster."""

import subprocess
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_files_that_need_no_program_of_the_cluster_come_first() -> None:
    last = "tests/charts/test_values.py", "tests/operator/test_crd.py"
    chosen = last[0], "tests/test_timed.py", "tests/api", last[1]
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *chosen]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [file for file, _ in groupby(line.partition("::")[0] for line in listed.splitlines() if "::" in line)]
    assert tuple(files[-2:]) == last
    assert files[0] == "tests/test_timed.py" and len(files) == len(set(files)) > 3
