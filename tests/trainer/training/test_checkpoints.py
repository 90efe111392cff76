"""The files after checkpoints were written, truncated and damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.training.checkpoints import COMPLETE, Checkpoints

ONE = Distributed()


def write(content: str) -> Callable[[Path], None]:
    def into(folder: Path) -> None:
        (folder / "state").mkdir()
        (folder / "state" / "weights.pt").write_text(content)
        (folder / "average-0.pt").write_text(content)

    return into


def filled(folder: Path, *steps: int, keep: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep, ONE)
    for step in steps:
        checkpoints.save(step, 2, write(f"state of step {step}"))
    return checkpoints


def newest_step(checkpoints: Checkpoints) -> int | None:
    newest = checkpoints.newest()
    return None if newest is None else newest.step


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda folder: flip_a_bit(folder / "state" / "weights.pt"),
    "a truncated file": lambda folder: truncate(folder / "average-0.pt"),
    "a missing file": lambda folder: (folder / "average-0.pt").unlink(),
    "a missing mark": lambda folder: (folder / COMPLETE).unlink(),
    "a truncated mark": lambda folder: truncate(folder / COMPLETE),
    "a file too many": lambda folder: (folder / "state" / "more.pt").touch(),
}


class OfAnotherNode(Distributed):
    """A process that receives the findings of the main one."""

    shared = ""

    def share(self, text: str) -> str:
        """The main process's text."""
        return type(self).shared


def test_every_process_takes_the_checkpoint_that_the_main_one_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node's view of a network file system may be older: its folder lacks the newest checkpoint."""
    here = filled(tmp_path / "checkpoints", 5, 10)
    monkeypatch.setattr(Distributed, "share", lambda self, text: setattr(OfAnotherNode, "shared", text) or text)
    found = here.newest()
    stale = filled(tmp_path / "stale", 5)
    there = Checkpoints(stale.folder, 3, OfAnotherNode(rank=1, size=2)).newest()
    assert there == found and found is not None and found.step == 10


def test_the_newest_is_found_with_its_facts(tmp_path: Path) -> None:
    newest = filled(tmp_path / "checkpoints", 5, 10).newest()
    assert newest is not None
    assert (newest.step, newest.world_size, newest.zero_stage) == (10, 1, 2)
    assert (newest.folder / "state" / "weights.pt").read_text() == "state of step 10"


def test_no_checkpoint_is_found_in_an_empty_folder(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoints", 1, ONE).newest() is None


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_few_are_kept(tmp_path: Path, keep: int) -> None:
    filled(tmp_path, 5, 10, 15, keep=keep)
    assert (
        sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005", "step-00000010", "step-00000015"][-keep:]
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped(tmp_path: Path, damage: str) -> None:
    checkpoints = filled(tmp_path, 5, 10)
    DAMAGES[damage](tmp_path / "step-00000010")
    assert newest_step(checkpoints) == 5


def test_damaged_checkpoints_do_not_displace_complete_ones(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 10, 20, keep=1)
    flip_a_bit(tmp_path / "step-00000020" / "average-0.pt")
    checkpoints.save(5, 2, write("begun anew"))
    assert newest_step(checkpoints) == 5


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5, keep=1)

    def fail(folder: Path) -> None:
        write("half")(folder)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        checkpoints.save(10, 2, fail)
    assert newest_step(checkpoints) == 5
    checkpoints.save(15, 2, write("whole"))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000015"]


def test_the_previous_checkpoint_is_kept_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = filled(tmp_path, 5, keep=1)
    found_at_removals = []
    remove = shutil.rmtree

    def look_and_remove(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            found_at_removals.append(newest_step(checkpoints))
        remove(path, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", look_and_remove)
    checkpoints.save(10, 2, write("new"))
    assert found_at_removals == [10]
