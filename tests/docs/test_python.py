"""The Python code of the documentation, as written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.written import blocks
from tests.trainer.tiny_training import ROOT

SMALL = {"training": {"steps": 4}, "prior": {"images": 4, "otherWords": 0}, "evaluation": {"enabled": False}}
"""Settings with which the example takes seconds: the code itself leaves them out."""


@pytest.mark.slow
def test_the_example_trains_and_generates(tmp_path: Path) -> None:
    (block,) = blocks("python", Path("docs/python.md"))
    (tmp_path / "photos").symlink_to(ROOT / "examples" / "dog" / "photos")
    code = block.text.replace('method="lora")', f'method="lora", settings={SMALL!r})')
    assert code != block.text
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert ended.returncode == 0, ended.stderr
    pictures = ended.stdout.splitlines()
    assert len(pictures) == 4 and all((tmp_path / picture).is_file() for picture in pictures)
