"""Makes the recipe's tests fast."""

from collections.abc import Iterator

import pytest
import torch

from emoji_recipe import compose


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few views of each scene, and one thread: on busy machines several threads wait for each other at every layer."""
    monkeypatch.setattr(compose, "VIEWS_OF_SCENE", 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
