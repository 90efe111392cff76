"""Complete runs with evaluation whose shared cache can't be written to, for several reasons."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreambooth_trainer.process.storage import manifest_of
from tests.trainer.tiny_training import Job, job_of

EVALUATED = {
    "evaluation": {
        "enabled": True,
        "perPrompt": 2,
        "contexts": ["on a red background", "at night"],
        "otherClasses": ["cat", "car"],
    }
}


def evaluated(root: Path, name: str, cache: Path) -> Job:
    job = job_of(root, name, **EVALUATED)
    return Job(job.folder, job.config, cache)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder `source` and a mount of it that can only be read, also by root."""
    source, mounted = tmp_path / "source", tmp_path / "mounted"
    source.mkdir()
    mounted.mkdir()
    for options in (["--bind", str(source), str(mounted)], ["-o", "remount,ro,bind", str(mounted)]):
        done = subprocess.run(["mount", *options], capture_output=True)
        if done.returncode:
            subprocess.run(["umount", str(mounted)], capture_output=True)
            pytest.skip(f"no mount can be made: {done.stderr.decode()}")
    yield tmp_path
    subprocess.run(["umount", str(mounted)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("filled", ["empty", "with class images", "whole"])
def test_a_mount(tiny_training: Path, read_only: Path, filled: str) -> None:
    if filled != "empty":
        assert evaluated(tiny_training, f"filling-{filled}", read_only / "source").finish() == 0
    if filled == "with class images":
        shutil.rmtree(read_only / "source" / "evaluation")
    before = manifest_of(read_only / "source")
    job = evaluated(tiny_training, f"mounted-{filled}", read_only / "mounted")
    assert job.finish() == 0, job.log.read_text()
    assert manifest_of(read_only / "source") == before
    assert job.termination["result"]["subj"] is not None
    assert bool(list(job.output.class_images.rglob("*.png"))) == (filled == "empty")
    assert not job.output.base_pictures.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["below a file", "a name that is too long", "in no file system", "damaged"])
def test_a_folder_that_cannot_be_made(tiny_training: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    cache = {
        "below a file": tmp_path / "file" / "cache",
        "a name that is too long": tmp_path / ("n" * 300),
        "in no file system": Path("/proc/dreambooth"),
        "damaged": tmp_path / "damaged",
    }[kind]
    if kind == "damaged":
        cache.mkdir()
        (cache / "evaluation").write_text("in the way")
        (cache / "class-images").write_text("in the way")
    job = evaluated(tiny_training, f"no-cache-{kind}", cache)
    assert job.finish() == 0, job.log.read_text()
