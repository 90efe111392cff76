from pathlib import Path

from dreambooth_api.training import EMBEDDED_MODELS
from dreambooth_trainer import embedded


def test_the_models_that_a_manifest_may_name_are_there() -> None:
    folder = Path(embedded.__file__).parent
    assert {pipeline.parent.name for pipeline in folder.glob("*/pipeline")} == set(EMBEDDED_MODELS)
    assert embedded.path("emoji") == folder / "emoji"
