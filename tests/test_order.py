"""The order of the tests: first the files whose tests need no cluster."""

import subprocess
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_files_without_tests_that_need_a_cluster_come_first() -> None:
    chosen = "tests/operator/test_permissions.py", "tests/test_timed.py", "tests/api", "tests/operator/test_crd.py"
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *chosen]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [file for file, _ in groupby(line.partition("::")[0] for line in listed.splitlines() if "::" in line)]
    assert set(files[-2:]) == {"tests/operator/test_permissions.py", "tests/operator/test_crd.py"}
    assert files[0] == "tests/test_timed.py" and len(files) == len(set(files)) > 3
