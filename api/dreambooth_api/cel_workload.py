"""What the API server refuses of every object that runs pods, in the Common Expression Language: rules about how they run.

Used by `cel.py` and `cel_scene.py`.
"""

from collections.abc import Iterable, Mapping, Sequence

from dreambooth_api.cel_parts import GPU_RESOURCE, LABELS, TOLERATION, TOPOLOGY, Rule, has_default
from dreambooth_api.sections import Resources
from dreambooth_api.workload import NAME_PATTERN

IMMUTABLE = Rule(
    "self == oldSelf",
    "can't be changed. Delete the object and apply a new one; with the same output, a training continues from its last "
    "checkpoint, also with more training.steps, and a scene keeps the pictures that are there",
)

WHILE_SUSPENDED = "queueName", "priorityClassName", "workloadPriorityClassName"
"""Fields of `scheduling` that can be changed while nothing runs."""


def unchanged(field: str) -> str:
    """The expression that an optional field has not changed."""
    return f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"


WORKLOAD_RULES: Mapping[str, Sequence[Rule]] = {
    "spec": [
        Rule(
            unchanged(field),
            f"{field} {IMMUTABLE.message}",
        )
        for field in ("image", "runtime", "scheduling.topology")
    ]
    + [
        Rule(
            f"self.suspend || ({unchanged(f'scheduling.{field}')})",
            f"scheduling.{field} can only be changed while suspend is true. Set suspend to true as well; running pods save a "
            "checkpoint and end",
        )
        for field in WHILE_SUSPENDED
    ],
    "spec.resources": [
        Rule(
            "quantity(self.sharedMemory).compareTo(quantity(self.memory)) <= 0",
            "sharedMemory must not be more than memory, which it counts towards",
        ),
        GPU_RESOURCE,
        Rule(
            f"self.gpusPerNode > 0 || {has_default('gpuResourceName', Resources().gpu_resource_name)}",
            "gpuResourceName has no effect, because gpusPerNode is 0. Set gpusPerNode, or remove it",
        ),
    ],
    "spec.scheduling.topology": TOPOLOGY,
    "spec.scheduling.nodeSelector": [IMMUTABLE, *LABELS],
    "spec.scheduling.tolerations": [IMMUTABLE],
    "spec.scheduling.tolerations[]": TOLERATION,
}
"""By the path of a field: what must hold for it."""


def with_workload_rules(further: Mapping[str, Sequence[Rule]], fixed: Iterable[str]) -> Mapping[str, Sequence[Rule]]:
    """The rules of a kind.

    Args:
        further: its own rules.
        fixed: paths of the sections that stay as they were applied.
    """
    immutable = {path: [IMMUTABLE] for path in fixed}
    paths = [*WORKLOAD_RULES, *further, *immutable]
    return {
        path: [rule for rules in (immutable, WORKLOAD_RULES, further) for rule in rules.get(path, ())] for path in paths
    }


def name_rule(length: int, named: str) -> Rule:
    """The rule of a name.

    Args:
        length: its greatest length.
        named: what has names that begin with it.
    """
    return Rule(
        f"size(self.metadata.name) <= {length} && self.metadata.name.matches('{NAME_PATTERN}')",
        f"metadata.name must have at most {length} lower-case letters, digits and hyphens, a letter first, since {named} "
        "named after it",
    )
