import subprocess
import sys

import pytest

from tests.trainer.tiny_training import environment_of_processes

PROGRAM = """
import os, sys
from dreambooth_trainer.process.streams import keep_streams
keep_streams()
print("output")
print("error", file=sys.stderr)
assert os.open(os.devnull, os.O_RDONLY) > 2
sys.exit(5)
"""


@pytest.mark.parametrize(
    "redirection", ["", ">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true"]
)
def test_a_program_keeps_its_exit_code(redirection: str) -> None:
    command = f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", command, sys.executable, PROGRAM], env=environment_of_processes(), capture_output=True, text=True
    )
    assert ended.returncode == 5, ended.stderr
    assert ended.stdout == ("" if ">" in redirection.replace("2>", "") or "|" in redirection else "output\n")
    assert ended.stderr == ("" if "2>" in redirection else "error\n")
