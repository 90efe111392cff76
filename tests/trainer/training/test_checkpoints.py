"""The files after checkpoints were written, truncated and damaged."""

import errno
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dreambooth_api.failures import StorageFull, classify
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.training.checkpoints import INDEX, Checkpoints
from dreambooth_trainer.training.state import Part, State, StateReader
from tests.patience import PATIENCE

ONE = Distributed()
FILE = "state-00000.safetensors"


def state(content: float) -> State:
    return State([Part("layer.weight", 0, {"weights": torch.full((64,), content)})], {"step": content})


def opened(folder: Path, keep: int = 3, interval: float = 0) -> Checkpoints:
    return Checkpoints(folder, keep, interval, ONE)


def filled(folder: Path, *steps: int, keep: int = 3) -> Checkpoints:
    checkpoints = opened(folder, keep)
    for step in steps:
        checkpoints.begin(step, state(step))
        checkpoints.complete()
    return checkpoints


def test_the_step_of_a_complete_checkpoint_is_returned(tmp_path: Path) -> None:
    checkpoints = opened(tmp_path)
    checkpoints.begin(7, state(7))
    assert checkpoints.complete() == 7 == newest_step(checkpoints)


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
    "a flipped bit": lambda folder: flip_a_bit(folder / FILE),
    "a truncated file": lambda folder: truncate(folder / FILE),
    "a missing file": lambda folder: (folder / FILE).unlink(),
    "a missing index": lambda folder: (folder / INDEX).unlink(),
    "a truncated index": lambda folder: truncate(folder / INDEX),
    "a file too many": lambda folder: (folder / "more.safetensors").touch(),
}


class OfAnotherNode(Distributed):
    """A process that receives the findings of the main one."""

    shared: Any = None

    def share(self, value: Any) -> Any:
        """The main process's value."""
        return type(self).shared


def test_every_process_takes_the_checkpoint_that_the_main_one_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node's view of a network file system may be older: its folder lacks the newest checkpoint."""
    here = filled(tmp_path / "checkpoints", 5, 10)
    monkeypatch.setattr(Distributed, "share", lambda self, value: setattr(OfAnotherNode, "shared", value) or value)
    found = here.newest()
    filled(tmp_path / "stale", 5)
    there = Checkpoints(tmp_path / "stale", 3, 0, OfAnotherNode(rank=1, size=2)).newest()
    assert there == found and found is not None and found.step == 10


def test_the_newest_is_found_with_its_facts(tmp_path: Path) -> None:
    newest = filled(tmp_path / "checkpoints", 5, 10).newest()
    assert newest is not None
    assert newest.step == 10
    with StateReader(newest.files) as reader:
        assert reader.scalars == {"step": 10}
        assert torch.equal(reader.read("layer.weight", "weights", 0, 64), torch.full((64,), 10.0))


def test_no_checkpoint_is_found_in_an_empty_folder(tmp_path: Path) -> None:
    assert opened(tmp_path / "checkpoints").newest() is None


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
    flip_a_bit(tmp_path / "step-00000020" / FILE)
    checkpoints.begin(5, state(5))
    checkpoints.complete()
    assert newest_step(checkpoints) == 5


def test_a_write_that_fails_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = filled(tmp_path, 5, keep=1)

    def fail(self: State, file: Path) -> str:
        file.write_text("half")
        raise OSError(errno.ENOSPC, "no more")

    with monkeypatch.context() as patched:
        patched.setattr(State, "write", fail)
        checkpoints.begin(10, state(10))
        with pytest.raises(OSError, match="no more") as raised:
            checkpoints.complete()
    assert isinstance(classify(raised.value), StorageFull)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    checkpoints.begin(15, state(15))
    checkpoints.complete()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000015"]


class Slow:
    """Writes that wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        write = State.write

        def wait(state: State, file: Path) -> str:
            assert self.go_on.wait(PATIENCE)
            return write(state, file)

        monkeypatch.setattr(State, "write", wait)


def test_the_training_continues_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, checkpoints, now = Slow(monkeypatch), opened(tmp_path), state(1)
    checkpoints.begin(5, now)
    assert checkpoints.pending and checkpoints.writing
    now.parts[0].tensors["weights"].fill_(2)  # the next step
    assert newest_step(checkpoints) is None
    slow.go_on.set()
    checkpoints.complete()
    assert not checkpoints.pending
    newest = checkpoints.newest()
    assert newest is not None
    with StateReader(newest.files) as reader:
        assert (reader.read("layer.weight", "weights", 0, 64) == 1).all()


def test_without_memory_for_a_copy_the_training_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distributed, "free_host_memory", state(1).size - 1)
    monkeypatch.setattr(State, "copied", lambda self: pytest.fail("copied"))
    checkpoints = opened(tmp_path)
    checkpoints.begin(5, state(5))
    assert checkpoints.pending and not checkpoints.writing
    checkpoints.complete()
    assert newest_step(checkpoints) == 5


def test_a_checkpoint_that_is_given_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, checkpoints = Slow(monkeypatch), filled(tmp_path)
    checkpoints.begin(5, state(5))
    slow.go_on.set()
    checkpoints.abandon()
    assert not checkpoints.pending and list(tmp_path.iterdir()) == []
    checkpoints.abandon()


def test_the_main_process_decides_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    main, other = (Checkpoints(tmp_path, 1, 60, Distributed(rank=rank)) for rank in range(2))
    now += 59
    assert not main.due
    now += 1
    assert main.due and not other.due
    main.begin(5, state(5))
    now += 61
    assert not main.due  # the last one is not complete
    main.complete()
    assert main.due


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
    checkpoints.begin(10, state(10))
    checkpoints.complete()
    assert found_at_removals == [10]
