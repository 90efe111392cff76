"""The processes of a run and the rank of this one, from the environment variables of torchrun."""

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TypeVar

import torch

from dreambooth_trainer.process.memory import free_memory

Value = TypeVar("Value")

PATIENCE = timedelta(hours=3)
"""How long a process waits for another one."""

PATIENCE_IN_STEPS = timedelta(minutes=10)
"""How long it waits while training steps run."""


@dataclass(frozen=True)
class Distributed:
    """Rank and number of the processes. The defaults are those of a single process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> "Distributed":
        """The processes from torchrun's variables; a single one without these variables."""
        if not torch.cuda.is_available():
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # Else DeepSpeed warns that it found no GPU.
        return cls(
            rank=int(os.environ.get("RANK", 0)),
            size=int(os.environ.get("WORLD_SIZE", 1)),
            local_rank=int(os.environ.get("LOCAL_RANK", 0)),
        )

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes the files of the run."""
        return self.rank == 0

    @cached_property
    def device(self) -> torch.device:
        """The GPU of this process, or the CPU."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def device_name(self) -> str:
        """Name of the device for people."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    @property
    def memory(self) -> int:
        """Bytes of memory for this process: the GPU's, or its share of the host's."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_properties(self.device).total_memory
        host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return host // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

    @property
    def free_host_memory(self) -> int:
        """Bytes of the host's memory that this process may still use: its share of what the machine, or the container,
        has left."""
        return free_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

    def precision(self, mixed_precision: str) -> torch.dtype:
        """The number format for a value of `training.mixedPrecision` on this device."""
        if mixed_precision == "auto":
            return torch.bfloat16 if self._computes_bf16_faster() else torch.float32
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[mixed_precision]

    def _computes_bf16_faster(self) -> bool:
        if self.device.type == "cuda":
            return torch.cuda.get_device_capability(self.device) >= (8, 0)
        # AVX512-BF16 alone reaches half the rate of float32 on some CPUs. AMX is always faster than float32.
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))

    def connect(self) -> None:
        """Joins the processes (NCCL on GPUs, gloo on CPUs); does nothing the second time."""
        import deepspeed
        import torch.distributed as dist
        from torch.distributed import HashStore  # type: ignore[attr-defined]

        if dist.is_initialized():
            return
        # Else DeepSpeed compiles a shared-memory all-reduce for CPUs at its first use, which takes half a minute and
        # needs a compiler. Gloo is enough.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(self.device)
        if self.size == 1:
            os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed needs the variables of a launcher.
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        deepspeed.init_distributed(dist_backend=backend, timeout=PATIENCE, verbose=False)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """While training steps run: a process that waits longer than a few minutes for another one fails.

        In other phases, processes wait while one of them downloads a model, generates a larger share of the class images or
        computes digests.
        """
        if self.size == 1:
            yield
            return
        torch.distributed.set_timeout(PATIENCE_IN_STEPS)
        try:
            yield
        finally:
            torch.distributed.set_timeout(PATIENCE)

    def release_memory(self) -> None:
        """Releases the memory of deleted objects from the allocators to the GPU and, if the C library supports it, to
        the host."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it; musl and macOS don't.
        if trim is not None:
            trim(0)

    def barrier(self) -> None:
        """Waits until all processes call it."""
        if self.size > 1:
            torch.distributed.barrier()

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process. All processes must call it."""
        if self.size == 1:
            return list(flags)
        found = torch.tensor(flags, dtype=torch.int32, device=self.device)
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in found.tolist()]

    def share(self, value: Value) -> Value:
        """Returns the value of the main process, which must be picklable, in every process. All processes must call
        it."""
        values = [value]
        if self.size > 1:
            torch.distributed.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes, which must be picklable, by rank. All processes must call it."""
        values = [value] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over the processes. All processes must call it."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over the processes. All processes must call it."""
        return self.sum(values) / self.size
