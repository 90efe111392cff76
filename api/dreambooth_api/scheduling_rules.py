"""Rules over fields that a DreamBoothJob and a DreamBoothRuntime have in common."""

from collections.abc import Iterator, Sequence

from dreambooth_api.failures import Problem
from dreambooth_api.sections import Toleration, Topology


def gpu_resource_problems(name: str) -> Iterator[Problem]:
    """Problems of `resources.gpuResourceName`."""
    if "kubernetes.io/" in name or name.startswith("requests."):
        message = "is no extended resource: Kubernetes reserves kubernetes.io/ and requests. for itself"
        yield Problem("spec.resources.gpuResourceName", name, message, "Give another name, such as nvidia.com/gpu")


def toleration_problems(path: str, tolerations: Sequence[Toleration]) -> Iterator[Problem]:
    """Problems of a list of tolerations, whose path is given."""
    for number, one in enumerate(tolerations):
        field, value = f"{path}[{number}]", one.model_dump(by_alias=True, exclude_none=True)
        if one.key is None and one.operator != "Exists":
            remedy = "Add a key, or set the operator to Exists to tolerate all taints"
            yield Problem(field, value, "has no key, which needs the operator Exists", remedy)
        if one.operator == "Exists" and one.value:
            remedy = "Remove it, or choose the operator Equal"
            yield Problem(f"{field}.value", one.value, "has no effect for the operator Exists", remedy)
        if one.toleration_seconds is not None and one.effect != "NoExecute":
            remedy = "Set the effect to NoExecute, or remove the seconds"
            yield Problem(f"{field}.tolerationSeconds", one.toleration_seconds, "needs the effect NoExecute", remedy)


def values_problems(field: str, operator: str, values: Sequence[str]) -> Iterator[Problem]:
    """Problems of the values of a requirement on a label, whose field and operator are given."""
    if (operator in ("In", "NotIn")) != bool(values):
        message = f"must be given for the operators In and NotIn, and for no other; the operator is {operator}"
        yield Problem(field, values, message, "Correct the operator or the values")


def topology_problems(path: str, topology: Topology | None) -> Iterator[Problem]:
    """Problems of a topology, whose path is given."""
    if topology is not None and (topology.required is None) == (topology.preferred is None):
        value = topology.model_dump(exclude_none=True)
        yield Problem(path, value, "needs either required or preferred", "Give one of them, or remove it")
