"""Tests of dreambooth_trainer.job that need no training."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from dreambooth_api.training import TrainConfig
from dreambooth_trainer.job import run_job
from dreambooth_trainer.start import say

CONTROLS = "\x1b[2J[red]x[bold]\u202e\\"


def test_text_is_neither_markup_nor_a_control_sequence() -> None:
    out = io.StringIO()
    say(Console(file=out, force_terminal=True), "rank 1: ", ("Bad[b]", "bold"), f": {CONTROLS}\nnext")
    assert r": \x1b[2J[red]x[bold]\u202e\ ".rstrip() in out.getvalue()
    assert "Bad[b]" in out.getvalue() and "next" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


def test_a_run_in_a_folder_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, output = tmp_path / f"photos{CONTROLS}", tmp_path / f"run{CONTROLS}"
    output.mkdir()
    (output / "COMPLETE").touch()
    config = TrainConfig.model_validate(
        {"model": {"source": "embedded://emoji"}, "subject": {"class": "dog", "images": {"path": str(photos)}}}
    )
    log = tmp_path / "termination.json"
    assert run_job(config, output, cache=tmp_path / "cache", termination_log=log) == 3
    said = capsys.readouterr()
    assert r"run\x1b[2J[red]x[bold]\u202e" in said.out.replace("\n", "")
    assert r"\x1b[2J[red]x[bold]" in said.err
    assert all(letter.isprintable() or letter == "\n" for letter in said.out + said.err)
    assert json.loads(log.read_text())["message"].isprintable()
