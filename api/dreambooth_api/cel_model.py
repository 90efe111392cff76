"""Rules about models in the Common Expression Language: where pods find them, and which fields have an effect.

Used by `cel.py` and `cel_scene.py`.
"""

from dreambooth_api.cel_parts import Rule
from dreambooth_api.sections import ADAPTER_SOURCE, MODEL_CONFIG, MODEL_SOURCE
from dreambooth_api.training import FOLDER_SCHEMES, SINGLE_FILE


def source_rule(field: str) -> Rule:
    """The rule that pods can find a model.

    Args:
        field: its source.
    """
    return Rule(
        f"self.{field}.matches('^({MODEL_SOURCE})$')",
        f"{field} must be embedded://emoji, hf://organisation/name or pvc://claim/path: pods see no other path",
    )


def needs_hub(field: str) -> Rule:
    """The rule that a field has no effect unless the source is on the hub."""
    rule = f"!has(self.{field}) || self.source.startsWith('hf://')"
    return Rule(
        rule, f"{field} has no effect unless source is a repository of the hub. Remove it, or give an hf:// source"
    )


MODEL = [
    source_rule("source"),
    needs_hub("revision"),
    Rule(
        "!has(self.config) || !("
        + " || ".join(f"self.source.startsWith('{scheme}')" for scheme in FOLDER_SCHEMES)
        + ")",
        "config has no effect, because source is a folder with its own configuration. Remove it, or give a single-file "
        "checkpoint as source",
    ),
    Rule(
        f"!has(self.variant) || !self.source.endsWith('{SINGLE_FILE}')",
        "variant has no effect, because source is a single file. Remove it, or give a folder as source",
    ),
    Rule(
        f"!has(self.config) || self.config.matches('^({MODEL_CONFIG})$')",
        "config must be a hub repository (organisation/name) or pvc://claim/path: pods see no other path",
    ),
]
"""Rules of the section `model`, of any kind."""
ADAPTER = [
    Rule(
        f"self.source.matches('^({ADAPTER_SOURCE})$')",
        "source must be hf://organisation/name or pvc://claim/path: pods see no other path",
    ),
    needs_hub("revision"),
]
"""Rules of adapters."""
