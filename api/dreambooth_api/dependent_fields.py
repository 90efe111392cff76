"""Fields that have an effect only with some values of another field.

Read by `contradictions.py`, and by `cel_parts.py` for the API server. `cluster_rules.py` has those of the sections for the
cluster.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from dreambooth_api.training import Evaluation, Prior


class Switch(NamedTuple):
    """A field with a value that leaves other fields of its section without effect."""

    field: str
    """Its path in the spec."""
    idle: Any
    """The value."""
    remedy: str
    """What gives the other fields an effect."""
    dependents: Sequence[str]
    """Paths of the other fields."""

    @property
    def message(self) -> str:
        """What is wrong with another field that is set."""
        value = self.idle if isinstance(self.idle, str) else json.dumps(self.idle)
        return f"has no effect, because {self.field} is {value}"


def _others(section: str, model: type[BaseModel]) -> list[str]:
    """The fields of a section that has the field `enabled`, except that field."""
    return [f"{section}.{field.alias}" for name, field in model.model_fields.items() if name != "enabled"]


SWITCHES = (
    Switch("training.method", "full", "Set training.method to lora", ["training.lora", "training.quantization"]),
    Switch("training.ema.enabled", False, "Set training.ema.enabled to true", ["training.ema.decay"]),
    Switch(
        "training.trainTextEncoder",
        False,
        "Set training.trainTextEncoder to true",
        ["training.textEncoderLearningRate"],
    ),
    Switch("prior.enabled", False, "Set prior.enabled to true", _others("prior", Prior)),
    Switch("prior.target", "noise", "Set prior.target to prediction", ["prior.noisings", "prior.otherWords"]),
    Switch("prior.unconditionalShare", 0, "Set prior.unconditionalShare above 0", ["prior.otherWords"]),
    Switch("samples.prompts", [], "Give samples.prompts", ["samples.perPrompt", "samples.everySteps"]),
    Switch("evaluation.enabled", False, "Set evaluation.enabled to true", _others("evaluation", Evaluation)),
)
"""All of them, by switch."""
