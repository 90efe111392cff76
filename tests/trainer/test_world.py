import os
import platform
from pathlib import Path

import pytest
import torch

from dreambooth_trainer.world import World

MIB = 2**20


def resident() -> int:
    """Bytes of this process in memory."""
    _, pages, *_ = Path("/proc/self/statm").read_text().split()
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they keep")
def test_memory_of_deleted_tensors_is_given_back() -> None:
    # Freeing a large block makes glibc take smaller ones from its heap from then on, as in a training.
    torch.ones(30 * MIB // 4)
    tensors = [torch.ones(4 * MIB // 4) for _ in range(64)]
    kept = tensors[-1]
    del tensors
    before = resident()
    World().release_memory()
    assert before - resident() > 200 * MIB
    assert kept.sum() == MIB
