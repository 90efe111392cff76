"""Models inside the package, for trainings without a network.

The model loader uses the folder when a manifest names an embedded base model. Tests and examples use it directly.
"""

from pathlib import Path

from dreambooth_api.training import EMBEDDED_MODELS

_FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """Returns the folder of an embedded model: `pipeline/` is for diffusers, `evaluator/` a CLIPModel of transformers.

    Raises:
        ValueError: no model of that name is embedded; the message lists the names.
    """
    if name not in EMBEDDED_MODELS:
        raise ValueError(f"no embedded model is named {name!r}; there are: {', '.join(EMBEDDED_MODELS)}")
    return _FOLDER / name
