import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.timed import ProgramFailed, pieces, run_timed

ROOT = Path(__file__).parent.parent.parent


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_states_of_a_progress_bar_are_pieces_like_lines() -> None:
    bar = "\rSteps:   0%|          | 0/3\rSteps:  33%|███       | 1/3\nend\n\n"
    assert pieces(bar.encode()) == ["Steps:   0%|          | 0/3", "Steps:  33%|███       | 1/3", "end"]


def test_pieces_are_stamped_when_they_were_written(tmp_path: Path) -> None:
    text = "import sys, time; print('one', flush=True); time.sleep(0.5); sys.stderr.write('\\rtwo'); time.sleep(0.5)"
    finished = run_timed(program(text), tmp_path / "log")
    one, two = finished.marks
    assert (one.text, two.text) == ("one", "two")
    assert 0.4 < two.seconds - one.seconds < finished.seconds - 0.4
    assert (tmp_path / "log").read_bytes() == b"one\n\rtwo"


def test_memory_is_the_peak_of_the_largest_process(tmp_path: Path) -> None:
    child = "x = b'1' * (300 << 20)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    alone, of_both = (measured_by_a_small_process(text, tmp_path / "log") for text in ("pass", parent))
    assert alone < 100 << 20
    assert 300 << 20 < of_both < 400 << 20


def measured_by_a_small_process(text: str, log: Path) -> int:
    """Peak memory of a program; pytest itself may be too large to measure a small one."""
    call = f"print(run_timed({program(text)!r}, Path({str(log)!r})).memory)"
    measure = f"from pathlib import Path; from benchmarks.timed import run_timed; {call}"
    return int(subprocess.run(program(measure), capture_output=True, check=True, cwd=ROOT).stdout)


def test_the_error_of_a_failed_program_ends_with_its_last_output(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"code 3:\n(.*\n)*alas"):
        run_timed(program("print('alas'); raise SystemExit(3)"), tmp_path / "log")


def test_device_memory_counts_from_before_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = tmp_path / "used"
    used.write_text("500")
    fake_nvidia_smi(tmp_path / "bin" / "nvidia-smi", f"cat {used}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    text = f"import time; f = open({str(used)!r}, 'w'); f.write('1524'); f.close(); time.sleep(1)"
    assert run_timed(program(text), tmp_path / "log").device_memory == 1 << 30


def test_no_device_memory_where_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvidia_smi(tmp_path / "bin" / "nvidia-smi", "echo No devices were found; exit 6")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert run_timed(program("pass"), tmp_path / "log").device_memory is None


def fake_nvidia_smi(path: Path, does: str) -> None:
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def test_a_file_that_grows_is_watched(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    text = f"import time; f = open({str(file)!r}, 'w', 1); f.write('a\\nb\\n'); time.sleep(1); f.write('c\\n'); time.sleep(1)"
    finished = run_timed(program(text), tmp_path / "log", watched=file)
    (first, _), (last, lines) = finished.lines[0], finished.lines[-1]
    assert lines == 3
    assert 0.5 < last - first < finished.seconds
