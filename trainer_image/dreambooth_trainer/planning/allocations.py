"""Counts the bytes of tensors."""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

BLOCK = 512
"""Bytes to which PyTorch's allocator for GPUs rounds each allocation up."""


def allocated(storage: UntypedStorage) -> int:
    """Bytes that a GPU's allocator takes for a storage."""
    return -(-storage.nbytes() // BLOCK) * BLOCK


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes that tensors take. Tensors that share their memory count once; those on the meta device have none."""
    storages = {
        id(storage): storage for tensor in tensors if not tensor.is_meta for storage in [tensor.untyped_storage()]
    }
    return sum(map(allocated, storages.values()))


class Allocations(TorchDispatchMode):
    """While it is entered, counts the bytes of all tensors that operations create, as long as they exist.

    Also counts tensors without memory, such as those of `FakeTensorMode`. Memory that a kernel uses only while it runs is
    not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = 0
        """Bytes of the tensors that exist now."""
        self.peak = 0
        """Most bytes at any time."""
        self._seen = weakref.WeakSet[UntypedStorage]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation. What it gets and was not created here existed before."""
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            self._seen.add(tensor.untyped_storage())
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            if tensor.is_meta:
                continue
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._seen.add(storage)
                self._change(size := allocated(storage))
                weakref.finalize(storage, self._change, -size)
        return result

    def _change(self, size: int) -> None:
        self.current += size
        self.peak = max(self.peak, self.current)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a data class, in its fields and in theirs."""
    for field in fields(value):
        content = getattr(value, field.name)
        yield from tensors_in(content) if is_dataclass(content) else _tensors(content)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))
