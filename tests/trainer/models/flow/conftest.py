from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from diffusers.pipelines.chroma.pipeline_chroma import ChromaPipeline

from dreambooth_trainer.models.flow.model import FlowTransformer
from tests.trainer.tiny_flow import FlowFamily, build_flow, loaded_flow


@pytest.fixture(scope="session", params=get_args(FlowFamily))
def family(request: pytest.FixtureRequest) -> FlowFamily:
    chosen: FlowFamily = request.param
    return chosen


@pytest.fixture(scope="session", autouse=True)
def boolean_masks() -> Iterator[None]:
    """Corrects the stock pipeline of Chroma, whose masks of zeros and ones mask nothing (diffusers' issue 13619)."""
    stock = ChromaPipeline._get_t5_prompt_embeds

    def corrected(*arguments: Any, **settings: Any) -> Any:
        embeddings, mask = stock(*arguments, **settings)
        return embeddings, mask.bool()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChromaPipeline, "_get_t5_prompt_embeds", corrected)
        yield


@pytest.fixture(scope="session")
def folder(family: FlowFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the family as diffusers saves it; not to be changed."""
    folder = tmp_path_factory.mktemp(family) / "model"
    build_flow(family).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(folder: Path) -> FlowTransformer:
    """The same model as the trainer loads it; not to be changed."""
    return loaded_flow(folder)
