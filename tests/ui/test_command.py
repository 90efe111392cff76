"""`dreambooth ui` before it serves anything."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dreambooth_cli import app

RUNNER = CliRunner()


def test_without_its_libraries_it_says_how_to_install_them(tmp_path: Path) -> None:
    code = "import sys; sys.modules['gradio'] = None; from dreambooth_cli import app; app(['ui', '--local'])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "the library gradio for the page is missing" in ended.stderr
    assert "pip install 'dreambooth-operator[ui]'" in ended.stderr


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = RUNNER.invoke(app, ["ui", "--local", "--no-browser", "--port", str(port)])
    assert ended.exit_code == 2
    assert f"--port: {port} can't be used: Address already in use" in ended.output


def test_a_context_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    ended = RUNNER.invoke(app, ["ui", "--no-browser", "--context", "elsewhere"])
    assert ended.exit_code == 11
    assert f"no cluster: {os.environ['KUBECONFIG']!r} does not exist" in ended.output
