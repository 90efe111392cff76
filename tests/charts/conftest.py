"""Fixtures for Helm and rendered charts."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.charts.rendered import CHART, NAMESPACE, RELEASE, Objects, objects_in
from tests.cluster import binaries

Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Runs helm; it needs no cluster."""
    binary = "helm" if "KUBECONFIG" in os.environ else str(binaries.program("helm"))

    def run(*arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([binary, *arguments], capture_output=True, text=True, input=stdin)

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[[Mapping[str, Any]], Objects]:
    """Renders the chart with values."""

    def rendered(values: Mapping[str, Any]) -> Objects:
        arguments = ["template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-"]
        ended = helm(*arguments, stdin=json.dumps(values))
        assert ended.returncode == 0, ended.stderr
        return objects_in(ended.stdout)

    return rendered
