"""The state of a training as files: the tensors of each trained parameter, in pieces, one file for each process.

The format does not depend on the number of processes or on the ZeRO stage: a piece says which elements of its parameter
it holds. Each reader assembles the elements that it needs. The files are in the format of safetensors.
"""

import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

WEIGHTS, AVERAGE = "weights", "average"
"""Names of tensors of a parameter. The others are those of the optimizer's states."""

FLOAT = 4
"""Bytes of a float32, the format of all tensors in a file."""


@dataclass(frozen=True)
class Part:
    """Elements of a trained parameter, which is flattened."""

    parameter: str
    start: int
    """Number of the first element."""
    tensors: Mapping[str, Tensor]
    """Tensors of equally many elements: weights, average, states of the optimizer."""


@dataclass(frozen=True)
class State:
    """What a process contributes to a checkpoint. Its tensors change with the next step, unless they are copied."""

    parts: Sequence[Part]
    scalars: Mapping[str, float]
    """Numbers that are the same in all processes, such as the optimizer's number of steps."""

    @property
    def size(self) -> int:
        """Bytes of the tensors in a file."""
        return sum(FLOAT * tensor.numel() for part in self.parts for tensor in part.tensors.values())

    def copied(self) -> "State":
        """A copy in the memory of the host."""
        return State(
            [
                Part(
                    part.parameter,
                    part.start,
                    {name: _flat(tensor, copy=True) for name, tensor in part.tensors.items()},
                )
                for part in self.parts
            ],
            self.scalars,
        )

    def write(self, file: Path) -> str:
        """Writes the state, flushes it to the disk, and returns the SHA-256 of the file.

        The library would copy all tensors before it writes the first one, and the digest would need a second read.
        """
        tensors = {f"{part.parameter}/{name}": value for part in self.parts for name, value in part.tensors.items()}
        starts = {part.parameter: part.start for part in self.parts}
        metadata = {"starts": json.dumps(starts), "scalars": json.dumps(dict(self.scalars))}
        sha = hashlib.sha256()
        with file.open("wb") as stream:
            contents: Iterator[Buffer] = itertools.chain([_header(tensors, metadata)], map(_bytes, tensors.values()))
            for content in contents:
                stream.write(content)
                sha.update(content)
            stream.flush()
            os.fsync(stream.fileno())
        return sha.hexdigest()


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The header of a file in the format of safetensors: its length and a JSON object, padded to a multiple of eight
    bytes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + FLOAT * tensor.numel()
        header[name] = {"dtype": "F32", "shape": [tensor.numel()], "data_offsets": [begin, end]}
    content = json.dumps(header).encode()
    content += b" " * (-len(content) % 8)
    return len(content).to_bytes(8, "little") + content


def _bytes(tensor: Tensor) -> "Buffer":
    return _flat(tensor, copy=False).numpy().data


def _flat(tensor: Tensor, *, copy: bool) -> Tensor:
    """A tensor's elements in their logical order, [n], float32 on the CPU."""
    return tensor.detach().reshape(-1).to("cpu", torch.float32, copy=copy)


class StateReader(ExitStack):
    """Reads the files of a state. Elements are read when they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Opens the files of all processes that wrote the state."""
        super().__init__()
        self._pieces: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        self.scalars: Mapping[str, float] = {}
        """See `State`."""
        for path in files:
            file = self.enter_context(safe_open(path, framework="pt"))
            metadata = file.metadata()
            self.scalars = json.loads(metadata["scalars"])
            starts = json.loads(metadata["starts"])
            for key in file.keys():  # noqa: SIM118
                self._pieces[key].append((starts[key.rpartition("/")[0]], file.get_slice(key)))

    def names(self, parameter: str) -> list[str]:
        """Names of a parameter's tensors."""
        return [key.rpartition("/")[2] for key in self._pieces if key.rpartition("/")[0] == parameter]

    def read(self, parameter: str, name: str, start: int, length: int) -> Tensor:
        """Elements `start` to `start + length` of a parameter's tensor, on the CPU.

        Raises:
            ValueError: the files don't have all of them.
        """
        found, missing = torch.empty(length), length
        for begin, piece in self._pieces[f"{parameter}/{name}"]:
            (size,) = piece.get_shape()
            first, last = max(start, begin), min(start + length, begin + size)
            if first < last:
                found[first - start : last - start] = piece[first - begin : last - begin]
                missing -= last - first
        if missing:
            raise ValueError(f"the checkpoint lacks {missing} of {length} elements of {parameter}/{name}")
        return found


def weights_in(reader: StateReader, learning: Mapping[str, Tensor], *, averaged: bool) -> dict[str, Tensor]:
    """The complete trained weights in a checkpoint, or their average, in float32 on the CPU.

    Args:
        reader: reads the files of all processes that wrote it.
        learning: the trained parameters of the model, by name; only their shapes are used.
        averaged: whether to return the average.
    """
    name = AVERAGE if averaged else WEIGHTS
    return {
        parameter: reader.read(parameter, name, 0, tensor.numel()).view(tensor.shape)
        for parameter, tensor in learning.items()
    }
