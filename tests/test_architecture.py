"""The paths in docs/architecture.md exist, and the arrows of its diagram are imports."""

import re
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest

from tests.test_imports import IMPORTS, is_in

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:api|crds|operator|tests|trainer_image)/[^`]+)`", TEXT)))
PACKAGES = {"api": "dreambooth_api", "client": "dreambooth_client", "command": "dreambooth_cli", "ui": "dreambooth_ui"}
"""Nodes of the diagram that are complete packages."""


def test_every_path_exists() -> None:
    assert PATHS and [path for path in PATHS if not (ROOT / path).exists()] == []


def arrows() -> Iterator[tuple[str, str]]:
    """The arrows of the diagram, by the dotted names of the packages."""
    diagram = TEXT.partition("```mermaid")[2].partition("```")[0]
    nodes, package = dict(PACKAGES), ""
    for line in diagram.splitlines():
        if match := re.search(r'subgraph \w+\["\w+/(\w+)"\]', line):
            package = match[1]
        elif line.strip() == "end":
            package = ""
        elif "-->" in line:
            groups = [[name.strip() for name in group.split("&")] for group in line.split("-->")]
            nodes.update({name: f"{package}.{name}" for group in groups for name in group if package})
            for sources, targets in pairwise(groups):
                yield from ((nodes[one], nodes[other]) for one, other in product(sources, targets))


@pytest.mark.parametrize(("one", "other"), arrows())
def test_every_arrow_is_an_import(one: str, other: str) -> None:
    assert any(is_in(found.importer, one) and is_in(found.imported, other) for found in IMPORTS)
