import os
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.run import Run
from tests.trainer.tiny_models import Layout, build, loaded
from tests.trainer.tiny_training import write_model, write_photos
from tests.trainer.trained_models import Train, train

# Tests compare float32 arithmetic, which a GPU's libraries may round to ten bits of mantissa; processes inherit it.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Path]:
    """The tiny Stable Diffusion models as diffusers saves them, by layout; not to be changed."""
    root = tmp_path_factory.mktemp("tiny")
    folders: dict[Layout, Path] = {"1.x": root / "sd1", "2.x": root / "sd2", "xl": root / "sdxl"}
    for layout, folder in folders.items():
        build(layout).save_pretrained(folder)
    return folders


@pytest.fixture(params=get_args(Layout))
def layout(request: pytest.FixtureRequest) -> Layout:
    chosen: Layout = request.param
    return chosen


@pytest.fixture(scope="session")
def tiny_models(tiny_folders: dict[Layout, Path]) -> dict[Layout, StableDiffusion]:
    """The tiny models as the trainer loads them, by layout; not to be changed."""
    return {layout: loaded(folder) for layout, folder in tiny_folders.items()}


@pytest.fixture(scope="module")
def tiny_training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `photos` for a whole training."""
    root = tmp_path_factory.mktemp("training")
    write_model(root / "model")
    write_photos(root / "photos")
    return root


@pytest.fixture
def trained(tiny_folders: dict[Layout, Path], tmp_path: Path) -> Train:
    """Makes trained models of a layout; one for each test, in the test's own folder."""

    def make(layout: Layout, training: dict[str, Any]) -> tuple[Run, StableDiffusion]:
        return train(loaded(tiny_folders[layout]), tmp_path, training)

    return make
