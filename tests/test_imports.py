"""Which package may import which. Every import counts, also those in functions and those for type checkers only."""

import ast
import subprocess
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "dreambooth_api": ROOT / "api",
    "dreambooth_cli": ROOT / "operator",
    "dreambooth_client": ROOT / "operator",
    "dreambooth_operator": ROOT / "operator",
    "dreambooth_trainer": ROOT / "trainer_image",
    "dreambooth_ui": ROOT / "operator",
    "emoji_recipe": ROOT / "trainer_image",
}
"""The folders of our packages."""

BANS = {
    "dreambooth_api": {
        "dreambooth_cli",
        "dreambooth_client",
        "dreambooth_operator",
        "dreambooth_trainer",
        "dreambooth_ui",
        "emoji_recipe",
    },
    "dreambooth_client": {"dreambooth_cli", "dreambooth_ui", "emoji_recipe"},
    "dreambooth_operator": {
        "dreambooth_cli",
        "dreambooth_client",
        "dreambooth_trainer",
        "dreambooth_ui",
        "emoji_recipe",
    },
    "dreambooth_trainer": {
        "dreambooth_cli",
        "dreambooth_client",
        "dreambooth_operator",
        "dreambooth_ui",
        "emoji_recipe",
    },
    "dreambooth_ui": {"dreambooth_cli", "dreambooth_operator", "emoji_recipe"},
    # What the page shows is decided without Gradio.
    "dreambooth_ui.shown": {"asyncio", "fastapi", "gradio", "pandas", "starlette", "uvicorn"},
    "dreambooth_operator.decide": {
        *(f"dreambooth_operator.{name}" for name in ("control", "kube", "logs", "main", "metrics", "poll", "queueing")),
        *("asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"),
        *("aiohttp", "kopf", "kubernetes", "prometheus_client"),
    },
    "dreambooth_operator.control": {"kopf", "kubernetes"},
    "dreambooth_operator.main": {"kopf", "kubernetes"},
    "dreambooth_operator.metrics": {"kopf", "kubernetes"},
    "dreambooth_operator.objects": {"kopf", "kubernetes"},
    "dreambooth_operator.poll": {"kopf", "kubernetes"},
    "dreambooth_operator.queueing": {"kopf", "kubernetes"},
}
"""Modules that a package must not import."""

LIBRARIES_OF_THE_CLUSTER = {"aiohttp", "kopf", "kubernetes", "trustme"}
"""Libraries that only the operator and the test cluster need."""

NEEDED_BY_PYDANTIC = {"annotated-types", "pydantic", "pydantic_core", "typing-inspection", "typing_extensions"}


class Import(NamedTuple):
    """An import statement."""

    file: Path
    line: int
    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} ({self.importer}) imports {self.imported}"


def name_of(file: Path) -> str:
    """The dotted name of a module; that of a package ends with `__init__`."""
    return ".".join(
        file.relative_to(next(root for root in FOLDERS.values() if file.is_relative_to(root))).with_suffix("").parts
    )


FILES = [file for package, root in FOLDERS.items() for file in sorted((root / package).rglob("*.py"))]
MODULES = {name_of(file) for file in FILES}


def resolved(module: str, name: str | None = None) -> str:
    """The module that `import module` or `from module import name` loads."""
    inside = [f"{module}.{name}"] if name else []
    candidates = [candidate for one in [*inside, module] for candidate in (one, f"{one}.__init__")]
    return next((candidate for candidate in candidates if candidate in MODULES), module)


def imports_of(file: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = {resolved(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{file}:{node.lineno} imports relatively"
            names = {resolved(node.module, alias.name) for alias in node.names}
        else:
            continue
        yield from (Import(file, node.lineno, name_of(file), name) for name in sorted(names))


IMPORTS = [found for file in FILES for found in imports_of(file)]


def is_in(module: str, part: str) -> bool:
    return f"{module}.".startswith(f"{part}.")


def test_packages_have_no_circular_imports() -> None:
    """In each folder, the imports between its files and subfolders form no circle."""
    edges: dict[str, dict[tuple[str, str], Import]] = defaultdict(dict)
    for one in IMPORTS:
        if one.imported not in MODULES or one.imported == one.importer:
            continue
        here, there = one.importer.split("."), one.imported.split(".")
        depth = next(number for number, (a, b) in enumerate(zip(here, there, strict=False)) if a != b)
        edges[".".join(here[:depth])].setdefault((here[depth], there[depth]), one)
    for folder, between in edges.items():
        graph: dict[str, set[str]] = defaultdict(set)
        for one, other in between:
            graph[one].add(other)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = list(reversed(error.args[1]))
            steps = [str(between[step]) for step in pairwise(cycle)]
            pytest.fail("\n".join([f"circular imports in {folder or 'the repository'}:", *steps]))


@pytest.mark.parametrize("part", BANS)
def test_banned_imports(part: str) -> None:
    assert any(is_in(module, part) for module in MODULES)
    wrong = [
        one for one in IMPORTS if is_in(one.importer, part) and any(is_in(one.imported, ban) for ban in BANS[part])
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_decisions_read_no_clock() -> None:
    for file in (ROOT / "operator" / "dreambooth_operator" / "decide").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
            assert called not in {"now", "today", "utcnow"}, f"{file}:{getattr(node, 'lineno', 0)}"


def python(code: str, *folders: Path) -> str:
    """The output of a process that can import the libraries and, of our packages, only those in some folders."""
    libraries = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    code = f"import sys; sys.path += {[*libraries, *map(str, folders)]!r}; {code}"
    # Without -S, the .pth file of an editable installation would lead to all of our packages.
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_api_needs_pydantic_alone() -> None:
    modules = ", ".join(
        sorted(module.removesuffix(".__init__") for module in MODULES if is_in(module, "dreambooth_api"))
    )
    loaded = python(f"import {modules}; print(*sys.modules)", ROOT / "api").split()
    distributions = packages_distributions()
    found = {distribution for name in loaded for distribution in distributions.get(name, [])} - {"dreambooth-operator"}
    assert found <= NEEDED_BY_PYDANTIC


def test_the_operator_runs_without_the_trainer() -> None:
    code = (
        "from importlib.util import find_spec; import dreambooth_operator.main; print(find_spec('dreambooth_trainer'))"
    )
    assert python(code, ROOT / "api", ROOT / "operator").strip() == "None"


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from outside_functions(child)


def statements_of(file: Path) -> Iterator[str]:
    """The dotted names in the import statements of any file; `from a import b` gives `a` and `a.b`.

    Those in functions don't count: the commands about a cluster import their client when they run.
    """
    for node in outside_functions(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_tests_of_the_trainer_need_no_library_of_the_cluster() -> None:
    pending = [ROOT / "tests" / "conftest.py", *(ROOT / "tests" / "trainer").rglob("*.py")]
    examined: set[Path] = set()
    while pending:
        file = pending.pop()
        examined.add(file)
        for name in statements_of(file):
            assert name.split(".")[0] not in LIBRARIES_OF_THE_CLUSTER, f"{file.relative_to(ROOT)} imports {name}"
            paths = [root / name.replace(".", "/") for root in (ROOT, *FOLDERS.values())]
            found = {path for base in paths for path in (base.with_suffix(".py"), base / "__init__.py")}
            pending += [path for path in found - examined if path.is_file()]
    assert {"shared.py", "warm_start.py", "pipeline.py"} <= {file.name for file in examined}
