"""A test waits as long as a busy machine needs, or it is marked `timed` and runs alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WAITS = {"wait_for", "timeout"}
"""Functions of asyncio whose last argument is a number of seconds."""


def is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def bounds(node: ast.AST) -> Iterator[int]:
    """Lines that give something a number of seconds, or that assert that it took less than some time."""
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Attribute(attr=name), args=[*_, last]) if name in WAITS and is_number(last):
                yield part.lineno
            case ast.Compare(ops=[*_, ast.Lt() | ast.LtE()]) if "time.monotonic() -" in ast.unparse(part):
                yield part.lineno


def marked(node: ast.AST) -> bool:
    return any("pytest.mark.timed" in ast.unparse(each) for each in getattr(node, "decorator_list", ()))


def unmarked(text: str) -> list[int]:
    """Lines outside timed tests that bound a time."""
    tree = ast.parse(text)
    if any(isinstance(node, ast.Assign) and "pytest.mark.timed" in ast.unparse(node) for node in tree.body):
        return []
    timed = {line for node in ast.walk(tree) if marked(node) for line in bounds(node)}
    return sorted(set(bounds(tree)) - timed)


@pytest.mark.parametrize("file", sorted(TESTS.rglob("*.py")), ids=lambda file: str(file.relative_to(TESTS)))
def test_only_timed_tests_bound_a_time(file: Path) -> None:
    assert unmarked(file.read_text()) == [], "wait with tests.patience.PATIENCE, or mark the test as timed"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("await asyncio.wait_for(it(), 20)", [3]),
        ("await asyncio.wait_for(it(), PATIENCE)", []),
        ("async with asyncio.timeout(5): pass", [3]),
        ("assert time.monotonic() - begun < 9", [3]),
        ("assert 1 < time.monotonic() - begun < 9", [3]),
        ("assert time.monotonic() - begun > 9", []),
    ],
)
def test_bounds_are_found(line: str, expected: list[int]) -> None:
    assert unmarked(f"@pytest.mark.slow\nasync def test():\n    {line}") == expected
    assert unmarked(f"@pytest.mark.timed\nasync def test():\n    {line}") == []
    assert unmarked(f"pytestmark = pytest.mark.timed\nasync def test():\n    {line}") == []
