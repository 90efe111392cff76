import os
import platform
import time
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import pytest
import torch

from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.process import distributed as distributed_module
from dreambooth_trainer.process.distributed import Distributed
from tests.ports import free_port
from tests.trainer.tiny_training import hidden_gpus, wait

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


def meet_twice(rank: int, port: int, folder: Path) -> None:
    """Waits for the other process between steps and in a step."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    distributed_module.PATIENCE_IN_STEPS = timedelta(seconds=1)
    distributed = Distributed.from_environment()
    distributed.connect()
    time.sleep(2 * rank)
    distributed.barrier()
    (folder / f"met-{rank}").touch()
    with distributed.in_step():
        time.sleep(5 * rank)
        distributed.barrier()
    (folder / f"met-again-{rank}").touch()


@pytest.mark.slow
def test_processes_wait_long_for_each_other_but_not_in_steps(tmp_path: Path) -> None:
    port, context = free_port(), get_context("spawn")
    with mock.patch.dict(os.environ, hidden_gpus(2)):
        group = [context.Process(target=meet_twice, args=(rank, port, tmp_path)) for rank in range(2)]
        for process in group:
            process.start()
    assert wait(group[0]) != 0
    for process in group:
        process.kill()
        process.join()
    assert {path.name for path in tmp_path.iterdir()} == {"met-0", "met-1"}
