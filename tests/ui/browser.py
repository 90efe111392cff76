"""`dreambooth ui` as a process, and a headless Chromium that has opened its page."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.patience import PATIENCE

WATCHED = """
import sys

def note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None):
        with open(sys.argv[1], "a") as file:
            print(event, host, file=file)

sys.addaudithook(note)
from dreambooth_cli import app

app(sys.argv[2:])
"""
"""A program that is `dreambooth`, and notes each host to which it connects."""


@contextmanager
def served(folder: Path, asked: Path) -> Iterator[str]:
    """The address of the page of a machine without a cluster, in whose home directory is only a folder `runs`.

    Args:
        folder: the home directory.
        asked: file for the hosts that the server connects to.
    """
    kept = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment = {**kept, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WATCHED, str(asked), "ui", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE) == 0


@contextmanager
def chromium() -> Iterator[Page]:
    """An empty page of a headless Chromium; skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium: install Debian's package chromium, or run tests/cluster/install.sh as root")
    with sync_playwright() as playwright:
        # As root, Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        yield page
        browser.close()
