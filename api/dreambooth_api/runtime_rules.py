"""Validates a DreamBoothRuntime: each field, and rules over several fields.

The API server refuses the same with the rules in `cel_runtime.py`. The operator validates again, as the installed CRD may be
older or newer than the operator.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dreambooth_api.affinity import affinity_problems
from dreambooth_api.failures import Problem
from dreambooth_api.quantities import amount
from dreambooth_api.runtime import DreamBoothRuntimeSpec
from dreambooth_api.runtime_pods import OWN_VARIABLES, is_reserved
from dreambooth_api.scheduling_rules import (
    gpu_resource_problems,
    toleration_problems,
    topology_problems,
    values_problems,
)
from dreambooth_api.sections import Resources
from dreambooth_api.validation import check_fields


def validate_runtime(item: Mapping[str, Any]) -> tuple[DreamBoothRuntimeSpec | None, list[Problem]]:
    """Reads and validates a DreamBoothRuntime of the API server.

    Args:
        item: the DreamBoothRuntime.

    Returns:
        Its spec, or None if there are problems; and the problems.
    """
    spec, problems = check_fields(item.get("spec", {}), DreamBoothRuntimeSpec, "spec")
    if spec is not None:
        problems += [problem for rule in _RULES for problem in rule(spec)]
    return (None if problems else spec), problems


def _selector(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    for number, one in enumerate(spec.namespace_selector.match_expressions):
        yield from values_problems(
            f"spec.namespaceSelector.matchExpressions[{number}].values", one.operator, one.values
        )


def _shared_memory(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    shared, memory = spec.resources.shared_memory, spec.resources.memory
    if shared is not None and memory is not None and amount(shared) > amount(memory):
        message = f"is more than resources.memory ({memory}), which includes it"
        yield Problem("spec.resources.sharedMemory", shared, message, "Lower it, or raise resources.memory")


def _gpu_resource(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    if spec.resources.gpu_resource_name is not None:
        yield from gpu_resource_problems(spec.resources.gpu_resource_name)


def _tolerations(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    return toleration_problems("spec.tolerations", spec.tolerations)


def _affinity(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    return affinity_problems("spec.affinity", spec.affinity) if spec.affinity else iter(())


def _resources(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    resources = spec.resources
    if (
        resources.cpu is not None
        and resources.cpu_limit is not None
        and amount(resources.cpu) > amount(resources.cpu_limit)
    ):
        message = f"is more than resources.cpuLimit ({resources.cpu_limit})"
        yield Problem("spec.resources.cpu", resources.cpu, message, "Lower it, or raise resources.cpuLimit")
    for name in resources.extended:
        if name == (resources.gpu_resource_name or Resources().gpu_resource_name):
            message, remedy = "counts the GPUs, of which resources.gpusPerNode is the number", "Remove it"
            yield Problem(f"spec.resources.extended.{name}", resources.extended[name], message, remedy)
        for problem in gpu_resource_problems(name):
            yield dataclasses.replace(problem, field=f"spec.resources.extended.{name}")


def _reserved(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    for field, given in {"podLabels": spec.pod_labels, "podAnnotations": spec.pod_annotations}.items():
        for key in filter(is_reserved, given):
            message = "is reserved for the operator, the Job controller and Kueue"
            yield Problem(f"spec.{field}.{key}", given[key], message, "Remove it")


def _variables(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    for number, one in enumerate(spec.env):
        field = f"spec.env[{number}].name"
        if one.name in OWN_VARIABLES:
            yield Problem(field, one.name, "is set by the operator", "Remove it")
        if one.name in [other.name for other in spec.env[:number]]:
            yield Problem(field, one.name, "is set twice", "Remove one of them")


def _topology(spec: DreamBoothRuntimeSpec) -> Iterator[Problem]:
    return topology_problems("spec.topology", spec.topology)


_RULES: list[Callable[[DreamBoothRuntimeSpec], Iterator[Problem]]] = [
    _selector,
    _shared_memory,
    _gpu_resource,
    _tolerations,
    _affinity,
    _resources,
    _reserved,
    _variables,
    _topology,
]
