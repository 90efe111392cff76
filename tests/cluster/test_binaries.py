import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.processes import NotReady

GO = """#!/bin/sh
[ "$1" != version ] || { echo "go version go1.2.3"; exit; }
while [ "$1" != -o ]; do shift; done
[ "$3" != ./broken ] || { echo "does not compile"; exit 1; }
echo "$3 made in $(basename "$PWD")" > "$2"
"""
"""A compiler that writes down what it was asked for."""


PROGRAMS = {name: f"example.org/{name}" for name in ("etcd", "kubectl", "helm")}


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small modules, a cache and logs of their own, and the compiler above."""
    for file, text in {"modules/go.mod": "module m", "modules/helm/go.mod": "module h", "path/go": GO}.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "path" / "go").chmod(0o755)
    monkeypatch.setattr(binaries, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(binaries, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(binaries, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(binaries, "PACKAGES", PROGRAMS)
    monkeypatch.setenv("PATH", str(tmp_path / "path"), prepend=os.pathsep)
    return tmp_path


def changed(modules: Path) -> None:
    (modules / "go.mod").write_text("module m // v2")


def changed_below(modules: Path) -> None:
    (modules / "helm" / "go.mod").write_text("module h // v2")


def added(modules: Path) -> None:
    (modules / "go.sum").touch()


def removed(modules: Path) -> None:
    (modules / "helm" / "go.mod").unlink()


def renamed(modules: Path) -> None:
    (modules / "go.mod").rename(modules / "go.work")


@pytest.mark.parametrize("change", [changed, changed_below, added, removed, renamed])
def test_another_module_makes_other_binaries_of_it_alone(workshop: Path, change: Callable[[Path], None]) -> None:
    before = {name: binaries.folder(name) for name in binaries.PACKAGES}
    change(workshop / "modules")
    others = ["helm"] if change in (changed_below, removed) else ["etcd", "kubectl"]
    assert [name for name in before if binaries.folder(name) != before[name]] == others


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LINKER_FLAGS", "-s"),
        ("TAGS", "no_cloud"),
        ("PACKAGES", PROGRAMS | {"etcd": "example.org/etcd/v2"}),
        ("OWN_MODULES", {"etcd": "helm", "helm": "helm"}),
    ],
)
def test_what_else_is_asked_for_makes_other_binaries(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    before = binaries.folder("etcd")
    monkeypatch.setattr(binaries, name, value)
    assert binaries.folder("etcd") != before


def test_another_compiler_makes_other_binaries(workshop: Path) -> None:
    before = binaries.folder("etcd")
    (workshop / "path" / "go").write_text(GO.replace("1.2.3", "1.2.4"))
    assert binaries.folder("etcd") != before


def test_the_same_modules_make_the_same_binaries_wherever_and_whenever(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = binaries.folder("etcd")
    (workshop / "modules").rename(workshop / "elsewhere")
    monkeypatch.setattr(binaries, "MODULES", workshop / "elsewhere")
    os.utime(workshop / "elsewhere" / "go.mod", (0, 0))
    assert binaries.folder("etcd") == before


def test_each_is_built_in_its_module_and_what_they_replace_is_removed(workshop: Path) -> None:
    old, other = binaries.built("etcd"), binaries.built("helm")
    changed(workshop / "modules")
    made = binaries.built("etcd")
    assert (made / "etcd").read_text() == "example.org/etcd made in modules\n"
    assert (other / "helm").read_text() == "example.org/helm made in helm\n"
    assert not old.exists()


def test_only_what_is_missing_is_built(workshop: Path) -> None:
    made = binaries.built("etcd", "kubectl")
    (made / "etcd").write_text("kept")
    (made / "kubectl").unlink()
    assert binaries.built("etcd", "kubectl") == made
    assert (made / "etcd").read_text() == "kept"
    assert (made / "kubectl").exists()


def test_nothing_is_built_that_nobody_asked_for(workshop: Path) -> None:
    lines: list[str] = []
    made = binaries.built("helm", report=lines.append)
    assert [file.name for file in made.iterdir()] == ["helm"]
    assert lines == ["building helm (1 of 1)"]
    assert binaries.built("helm", report=lines.append) == made and len(lines) == 1


def test_of_two_who_need_a_program_at_once_one_builds_it(workshop: Path) -> None:
    lines: list[str] = []
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: binaries.built("etcd", report=lines.append), range(4)))
    assert lines == ["building etcd (1 of 1)"]


def test_prometheus_is_taken_from_the_path(workshop: Path) -> None:
    for name in ("promtool", "helm"):
        (workshop / "path" / name).write_text("#!/bin/sh")
        (workshop / "path" / name).chmod(0o755)
    assert binaries.program("promtool") == workshop / "path" / "promtool"
    assert binaries.program("helm") == binaries.folder("helm") / "helm"


def test_without_a_compiler_nobody_knows_which_binaries_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    binaries.built("etcd")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(NotReady, match="needs Go"):
        binaries.built("etcd")


def test_a_build_that_fails_names_its_log_and_leaves_no_binary(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PACKAGES", PROGRAMS | {"etcd": "./broken"})
    with pytest.raises(NotReady, match=r"etcd was not built: .*build\.log"):
        binaries.built("etcd")
    assert "does not compile" in (workshop / "logs" / "build.log").read_text()
    assert not (binaries.folder("etcd") / "etcd").exists()
