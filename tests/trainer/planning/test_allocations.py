import torch

from dreambooth_trainer.planning.allocations import BLOCK, Allocations, bytes_of


def test_tensors_count_while_they_exist() -> None:
    with Allocations() as counted:
        first = torch.zeros(1024)
        second = first + 1
        assert counted.current == 2 * 4096
        del first
        assert (counted.current, counted.peak) == (4096, 2 * 4096)
    del second
    assert counted.current == 0


def test_views_and_tensors_from_before_do_not_count() -> None:
    before = torch.zeros(1024)
    with Allocations() as counted:
        view = before.view(32, 32).t()
        before.add_(1)
        meta = torch.zeros(1024, device="meta")
    assert (counted.peak, view.shape, meta.is_meta) == (0, (32, 32), True)


def test_what_autograd_saves_counts() -> None:
    weights = torch.zeros(1024, requires_grad=True)
    with Allocations() as counted:
        loss = weights.exp().sum()
        assert counted.current == 4096 + BLOCK
        loss.backward()
        del loss
        assert counted.current == 4096
    assert weights.grad is not None


def test_shared_memory_counts_once_and_in_blocks() -> None:
    weights = torch.zeros(3)
    assert bytes_of([weights, weights[:1], torch.zeros(9, device="meta")]) == BLOCK
