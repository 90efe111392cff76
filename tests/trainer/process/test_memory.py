from pathlib import Path

import psutil
import pytest

from dreambooth_trainer.process.memory import free_memory

GIB = 2**30


def group(folder: Path, limit: str, used: int, cached: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon {used - cached}\ninactive_file {cached}\nactive_file 0\n")
    return folder


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 10 GiB left."""

    class Memory:
        available = 10 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Memory)


def test_without_a_container_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == 10 * GIB
    assert free_memory(group(tmp_path, "max", GIB, 0)) == 10 * GIB


def test_the_limit_of_the_container_counts_and_cached_files_do_not(tmp_path: Path) -> None:
    assert free_memory(group(tmp_path, str(4 * GIB), 3 * GIB, 2 * GIB)) == 3 * GIB
    assert free_memory(group(tmp_path, str(40 * GIB), 3 * GIB, 0)) == 10 * GIB
    assert free_memory(group(tmp_path, str(4 * GIB), 5 * GIB, 0)) == 0
