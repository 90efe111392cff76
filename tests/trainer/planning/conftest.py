from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import get_args

import pytest
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from tests.trainer.tiny_flow import FlowFamily, build_flow
from tests.trainer.tiny_models import Layout, build

BUILDERS: dict[str, Callable[[], DiffusionPipeline]] = {
    **{layout: partial(build, layout) for layout in get_args(Layout)},
    **{family: partial(build_flow, family) for family in get_args(FlowFamily)},
}


@pytest.fixture(scope="session")
def write_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes the small model of a family once and returns its folder, which is not to be changed."""

    @cache
    def write(family: str) -> Path:
        folder = tmp_path_factory.mktemp("planning") / family
        BUILDERS[family]().save_pretrained(folder)
        return folder

    return write


# The networks of Stable Diffusion have many more layers.
@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in get_args(Layout) else []) for name in BUILDERS]
)
def family(request: pytest.FixtureRequest, write_family: Callable[[str], Path]) -> Path:
    """The folder of each family's small model."""
    return write_family(request.param)
