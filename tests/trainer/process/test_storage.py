import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreambooth_trainer.process.storage import (
    atomic_folder,
    digest_of,
    manifest_of,
    sha256_of,
    write_atomically,
    write_json,
)

WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from dreambooth_trainer.process.storage import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def fill(target: Path, text: str, *, replace: bool = True) -> None:
    with atomic_folder(target, replace=replace) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(text)


def test_a_folder_is_there_when_the_block_has_ended(tmp_path: Path) -> None:
    target = tmp_path / "a" / "model"
    with atomic_folder(target) as folder:
        (folder / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert target.stat().st_mode & 0o777 == 0o755
    assert os.listdir(target.parent) == ["model"]


@pytest.mark.parametrize(("replace", "expected"), [(True, "new"), (False, "old")])
def test_a_folder_is_replaced_or_kept(tmp_path: Path, replace: bool, expected: str) -> None:
    fill(tmp_path / "model", "old")
    fill(tmp_path / "model", "new", replace=replace)
    assert manifest_of(tmp_path) == {"model/inner/file": sha256_of(tmp_path / "model" / "inner" / "file")}
    assert (tmp_path / "model" / "inner" / "file").read_text() == expected
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_failed_write_keeps_the_previous_content(tmp_path: Path, replace: bool) -> None:
    fill(tmp_path / "model", "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "model", replace=replace) as folder:
        (folder / "file").write_text("half")
        raise RuntimeError
    assert list(manifest_of(tmp_path)) == ["model/inner/file"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_kill_keeps_the_previous_content_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    fill(tmp_path / "model", "old")
    (tmp_path / ".models.yaml").write_text("not ours")
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path / "model")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout and writer.stdout.readline() == "writing\n"
        writer.kill()
    assert (tmp_path / "model" / "inner" / "file").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 3
    fill(tmp_path / "model", "new")
    assert sorted(os.listdir(tmp_path)) == [".models.yaml", "model"]


def test_files_are_written_atomically(tmp_path: Path) -> None:
    target = tmp_path / "a" / "file"
    write_atomically(target, "ä")
    assert target.read_bytes() == "ä".encode()
    write_atomically(target, b"\x00")
    assert target.read_bytes() == b"\x00"
    assert target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(target.parent) == ["file"]


def test_a_file_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "file", "content")
    assert os.listdir(tmp_path) == ["file"]


@given(json_values)
def test_json_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text()) == value


@given(st.dictionaries(st.text(), json_values, min_size=1))
def test_digests_are_equal_for_equal_values_only(value: dict[str, object]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))
    assert digest_of(value) != digest_of({**value, next(iter(value)): "another"}) or "another" in value.values()


def test_files_of_an_atomic_folder_can_be_read_by_others(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "part").mkdir(mode=0o700)
        private = folder / "part" / "weights"
        private.touch(mode=0o600)
    assert [(tmp_path / "model" / name).stat().st_mode & 0o777 for name in ("part", "part/weights")] == [0o755, 0o644]
