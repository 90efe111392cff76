import platform

import pytest
import torch

from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.process.distributed import Distributed

MIB = 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they keep")
def test_memory_of_deleted_tensors_is_given_back() -> None:
    # Freeing a large block makes glibc take smaller ones from its heap from then on, as in a training.
    torch.ones(30 * MIB // 4)
    tensors = [torch.ones(4 * MIB // 4) for _ in range(64)]
    kept = tensors[-1]
    del tensors
    progress = Progress()
    before = progress.snapshot().memory_bytes
    Distributed().release_memory()
    assert before - progress.snapshot().memory_bytes > 200 * MIB
    assert kept.sum() == MIB
