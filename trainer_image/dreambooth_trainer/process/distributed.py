"""The processes of a run and this one's place among them, as torchrun describes them in the environment."""

import ctypes
import gc
import os
from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True)
class Distributed:
    """Rank and number of the processes; of one, where there is no other."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> "Distributed":
        """The processes that torchrun's variables describe; a single one where there are none."""
        if not torch.cuda.is_available():
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed would warn that it found no GPU.
        return cls(
            rank=int(os.environ.get("RANK", 0)),
            size=int(os.environ.get("WORLD_SIZE", 1)),
            local_rank=int(os.environ.get("LOCAL_RANK", 0)),
        )

    @property
    def is_main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @cached_property
    def device(self) -> torch.device:
        """The GPU of this process, else the CPU."""
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def device_name(self) -> str:
        """What a person calls the device."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    @property
    def memory(self) -> int:
        """Bytes of memory for this process: the GPU's, or its share of the host's."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_properties(self.device).total_memory
        host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return host // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

    def precision(self, mixed_precision: str) -> torch.dtype:
        """The number format that `training.mixedPrecision` asks for on this device."""
        if mixed_precision == "auto":
            return torch.bfloat16 if self._computes_bf16_faster() else torch.float32
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[mixed_precision]

    def _computes_bf16_faster(self) -> bool:
        if self.device.type == "cuda":
            return torch.cuda.get_device_capability(self.device) >= (8, 0)
        # AVX512-BF16 alone gives half the rate of float32 on some CPUs; the tiles of AMX always win.
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))

    def connect(self) -> None:
        """Joins the processes (NCCL on GPUs, gloo on CPUs); does nothing the second time."""
        import deepspeed
        import torch.distributed as dist
        from torch.distributed import HashStore  # type: ignore[attr-defined]

        if dist.is_initialized():
            return
        # DeepSpeed would compile a shared-memory all-reduce for CPUs at its first use: half a minute, and a compiler that
        # a laptop may not have. Gloo does what is needed.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(self.device)
        if self.size == 1:
            os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on a launcher's variables.
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        deepspeed.init_distributed(dist_backend=backend, verbose=False)

    def release_memory(self) -> None:
        """Gives back what deleted objects leave with the allocators: to the GPU, and to the host where its C library can."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; neither musl nor macOS has it.
        if trim is not None:
            trim(0)

    def barrier(self) -> None:
        """Waits until every process is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; every process must ask."""
        if self.size == 1:
            return flag
        found = torch.tensor(int(flag), device=self.device)
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        return bool(found.item())

    def share(self, text: str) -> str:
        """The text that the main process gives, in every process; all must ask."""
        if self.size == 1:
            return text
        texts = [text]
        torch.distributed.broadcast_object_list(texts, src=0, device=self.device)
        return texts[0]

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over the processes; every process must ask."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values / self.size
