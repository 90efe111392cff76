"""Models that ship inside the package, so that a job can run where no model can be downloaded.

The model loader asks for the folder when a manifest names an embedded base model; tests and examples do so directly.
"""

from pathlib import Path

from dreambooth_api.training import EMBEDDED_MODELS

_FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """Returns the folder of an embedded model: `pipeline/` is for diffusers, `evaluator/` a CLIPModel of transformers.

    Raises:
        ValueError: no model of that name is embedded; the message names those that are.
    """
    if name not in EMBEDDED_MODELS:
        raise ValueError(f"no embedded model is named {name!r}; there are: {', '.join(EMBEDDED_MODELS)}")
    return _FOLDER / name
