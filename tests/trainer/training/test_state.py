"""States in files: whatever processes wrote them, every process reads the elements that it asks for."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from dreambooth_trainer.process.storage import sha256_of
from dreambooth_trainer.training.state import Part, State, StateReader

SIZE = 24
NUMBERS = torch.arange(SIZE, dtype=torch.float32)


def write(folder: Path, *cuts: int) -> list[Path]:
    """A file for each piece between two cuts of a parameter."""
    files, ends = [], [0, *sorted(cuts), SIZE]
    for number, (start, stop) in enumerate(itertools.pairwise(ends)):
        piece = NUMBERS[start:stop]
        part = Part("unet.conv/in.weight", start, {"weights": piece, "exp_avg": -piece})
        files.append(folder / f"{number}.safetensors")
        State([part], {"step": 7}).write(files[-1])
    return files


@given(st.sets(st.integers(1, SIZE - 1), max_size=4), st.integers(0, SIZE), st.integers(0, SIZE))
def test_any_elements_are_read_from_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], one: int, other: int
) -> None:
    start, stop = sorted((one, other))
    with StateReader(write(tmp_path_factory.mktemp("state"), *cuts)) as reader:
        assert set(reader.names("unet.conv/in.weight")) == {"weights", "exp_avg"}
        assert reader.scalars == {"step": 7}
        for name, wanted in (("weights", NUMBERS), ("exp_avg", -NUMBERS)):
            found = reader.read("unet.conv/in.weight", name, start, stop - start)
            assert torch.equal(found, wanted[start:stop])


def test_missing_elements_are_an_error(tmp_path: Path) -> None:
    first, *_ = write(tmp_path, 10)
    with (
        StateReader([first]) as reader,
        pytest.raises(ValueError, match="lacks 4 of 6 elements of unet"),
    ):
        reader.read("unet.conv/in.weight", "weights", 8, 6)


def test_the_library_reads_the_file(tmp_path: Path) -> None:
    channels_last = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = State([Part("a", 0, {"weights": channels_last, "half": torch.ones(3, dtype=torch.bfloat16)})], {})
    digest = state.write(tmp_path / "file")
    assert digest == sha256_of(tmp_path / "file")
    loaded = load_file(tmp_path / "file")
    assert torch.equal(loaded["a/weights"], channels_last.flatten())
    assert loaded["a/half"].dtype == torch.float32
    assert state.size == sum(4 * tensor.numel() for tensor in loaded.values())
