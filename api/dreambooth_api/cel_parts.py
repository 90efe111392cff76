"""What the rules of DreamBoothJobs and DreamBoothRuntimes in the Common Expression Language have in common.

Used by `cel.py` and `cel_runtime.py`.
"""

import json
from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any, NamedTuple

from dreambooth_api.dependent_fields import SWITCHES, Switch
from dreambooth_api.fields import DEFAULTS
from dreambooth_api.sections import QUALIFIED_NAME


class Rule(NamedTuple):
    """A validation rule of a field."""

    rule: str
    """The expression that must hold."""
    message: str
    """What is wrong where it does not, and the remedy."""


TOPOLOGY = [
    Rule(
        "has(self.required) != has(self.preferred)",
        "a topology needs either required or preferred",
    )
]
"""Rules of a topology."""
TOLERATION = [
    Rule(
        "has(self.key) || self.operator == 'Exists'",
        "a toleration without key needs the operator Exists: it tolerates all taints. Add a key, or set the operator",
    ),
    Rule(
        "self.operator == 'Equal' || !has(self.value) || self.value == ''",
        "value has no effect for the operator Exists. Remove it, or choose the operator Equal",
    ),
    Rule(
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        "tolerationSeconds needs the effect NoExecute. Set it, or remove the seconds",
    ),
]
"""Rules of a toleration."""
LABELS = [
    Rule(
        f"self.all(key, size(key) <= 317 && key.matches('^{QUALIFIED_NAME}$'))",
        "each key must be the key of a label, [domain/]name, such as example.com/gpu",
    )
]
"""Rules of the keys of labels."""
GPU_RESOURCE = Rule(
    "!has(self.gpuResourceName) || "
    "!(self.gpuResourceName.contains('kubernetes.io/') || self.gpuResourceName.startsWith('requests.'))",
    "gpuResourceName must be an extended resource, such as nvidia.com/gpu: Kubernetes reserves kubernetes.io/ and requests. "
    "for itself",
)
"""Rule of the resources of a pod."""


def _literal(value: Any) -> str:
    """A value of JSON, which is also one of the expression language."""
    return json.dumps(value)


def has_default(field: str, default: Any) -> str:
    """The expression that a field has its default, and so have all fields inside."""
    if isinstance(default, Mapping):
        return " && ".join(has_default(f"{field}.{name}", value) for name, value in default.items())
    return f"!has(self.{field})" if default is None else f"self.{field} == {_literal(default)}"


def dependent_fields(section: str) -> list[Rule]:
    """The rules that fields without effect are not set."""

    def default_of(path: str) -> Any:
        return reduce(getitem, path.split("."), DEFAULTS)

    def rule(switch: Switch, field: str) -> Rule:
        # A number needs the type of its field.
        idle = type(default_of(switch.field))(switch.idle)
        name, dependent = (path.removeprefix(f"{section}.") for path in (switch.field, field))
        acts = f"self.{name} != {_literal(idle)}"
        return Rule(
            f"{acts} || {has_default(dependent, default_of(field))}",
            f"{field} {switch.message}. {switch.remedy}, or remove it",
        )

    return [
        rule(switch, field)
        for switch in SWITCHES
        if switch.field.startswith(f"{section}.")
        for field in switch.dependents
    ]
