"""The section `affinity` of a `DreamBoothRuntime`: on which nodes its pods may run, in the form of a pod's spec."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from dreambooth_api.failures import Problem
from dreambooth_api.scheduling_rules import values_problems
from dreambooth_api.sections import LabelValue, QualifiedName
from dreambooth_api.training import Section


class NodeRequirement(Section):
    """A requirement on one label of a node."""

    key: QualifiedName
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """Operator of the comparison."""
    values: Annotated[list[LabelValue], Field(max_length=100)] = []
    """Values for `In` and `NotIn`; one whole number for `Gt` and `Lt`."""


class NodeSelectorTerm(Section):
    """Selects the nodes for which all requirements hold."""

    match_expressions: Annotated[list[NodeRequirement], Field(min_length=1, max_length=20)]
    """The requirements."""


class NodeSelector(Section):
    """Selects the nodes that one of the terms selects."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1, max_length=10)]
    """The terms."""


class PreferredTerm(Section):
    """Nodes that the scheduler prefers."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Weight in comparison with other terms."""
    preference: NodeSelectorTerm
    """The nodes."""


class NodeAffinity(Section):
    """On which nodes pods may run."""

    required: Annotated[NodeSelector | None, Field(alias="requiredDuringSchedulingIgnoredDuringExecution")] = None
    """Nodes on which pods may run. Default: all."""
    preferred: Annotated[
        list[PreferredTerm], Field(alias="preferredDuringSchedulingIgnoredDuringExecution", max_length=10)
    ] = []
    """Nodes that the scheduler prefers among them."""


class Affinity(Section):
    """On which nodes pods may run. The operator spreads the pods of a DreamBoothJob over nodes by itself."""

    node_affinity: NodeAffinity
    """By labels of the nodes, with more operators than `nodeSelector`, and preferences."""


def affinity_problems(path: str, affinity: Affinity) -> Iterator[Problem]:
    """Problems of an affinity, whose path is given."""
    node, path = affinity.node_affinity, f"{path}.nodeAffinity"
    terms: list[tuple[str, NodeSelectorTerm]] = []
    if node.required:
        place = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        terms += [(f"{place}[{number}]", term) for number, term in enumerate(node.required.node_selector_terms)]
    place = f"{path}.preferredDuringSchedulingIgnoredDuringExecution"
    terms += [(f"{place}[{number}].preference", one.preference) for number, one in enumerate(node.preferred)]
    for place, term in terms:
        for number, one in enumerate(term.match_expressions):
            yield from _requirement_problems(f"{place}.matchExpressions[{number}].values", one)


def _requirement_problems(field: str, one: NodeRequirement) -> Iterator[Problem]:
    if one.operator in ("Gt", "Lt"):
        if len(one.values) != 1 or not one.values[0].isdecimal():
            yield Problem(field, one.values, f"must be one whole number for the operator {one.operator}", "Correct it")
    else:
        yield from values_problems(field, one.operator, one.values)
