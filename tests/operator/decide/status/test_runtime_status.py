from typing import Any

import pytest

from dreambooth_operator.decide.status.runtime_status import status_of_runtime
from tests.operator.pieces import at, moment, preferred_nodes, required_nodes


def runtime(generation: int = 1, status: Any = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "small", "generation": generation}
    return {"kind": "DreamBoothRuntime", "metadata": metadata, "spec": spec} | ({"status": status} if status else {})


def accepted(item: dict[str, Any], after: float = 0) -> tuple[str, str, str]:
    (one,) = status_of_runtime(item, at(after))["conditions"]
    return one["status"], one["reason"], one["message"]


def test_a_valid_runtime_is_accepted() -> None:
    assert status_of_runtime(runtime(3, limits={"steps": 9}), at(5)) == {
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Sound",
                "message": "The spec is valid.",
                "lastTransitionTime": moment(5),
                "observedGeneration": 3,
            }
        ],
    }


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"limits": {"steps": 0}}, "spec.limits.steps: 0"),
        ({"novelty": 1}, "spec.novelty: 1 is an unknown field"),
        ({"allowedImages": ["registry.io*"]}, "spec.allowedImages[0]: 'registry.io*' has the wrong form"),
        ({"tolerations": [{"effect": "NoSchedule"}]}, "spec.tolerations[0]: "),
        ({"resources": {"memory": "1Gi", "sharedMemory": "2Gi"}}, "spec.resources.sharedMemory: '2Gi'"),
        ({"resources": {"cpu": "2", "cpuLimit": "1"}}, "spec.resources.cpu: '2' is more than resources.cpuLimit (1)"),
        (
            {"resources": {"extended": {"nvidia.com/gpu": 1}}},
            "spec.resources.extended.nvidia.com/gpu: 1 counts the GPUs",
        ),
        ({"resources": {"extended": {"requests.a/b": 1}}}, "spec.resources.extended.requests.a/b: "),
        ({"podLabels": {"dreambooth.io/job": "cat"}}, "spec.podLabels.dreambooth.io/job: 'cat' is reserved"),
        ({"podAnnotations": {"kueue.x-k8s.io/x": "y"}}, "spec.podAnnotations.kueue.x-k8s.io/x: 'y' is reserved"),
        ({"env": [{"name": "HOME", "value": "/"}]}, "spec.env[0].name: 'HOME' is set by the operator"),
        ({"env": [{"name": "A", "value": ""}] * 2}, "spec.env[1].name: 'A' is set twice"),
        (
            required_nodes({"key": "memory", "operator": "Gt", "values": ["x"]}),
            f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].values: ['x'] must be one whole",
        ),
        (
            preferred_nodes({"key": "zone", "operator": "In"}),
            f"spec.affinity.nodeAffinity.{PREFERRED}[0].preference.matchExpressions[0].values: [] must be given",
        ),
        ({"topology": {}}, "spec.topology: "),
        ({"resources": {"gpuResourceName": "kubernetes.io/gpu"}}, "spec.resources.gpuResourceName: "),
        (
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.namespaceSelector.matchExpressions[0].values: []",
        ),
    ],
    ids=str,
)
def test_the_message_says_what_is_wrong(spec: dict[str, Any], field: str) -> None:
    status, reason, message = accepted(runtime(**spec))
    assert (status, reason) == ("False", "InvalidRuntime")
    assert message.startswith(field) and "DreamBoothJobs that use the runtime wait" in message


def test_the_time_changes_with_the_status_only_and_other_conditions_are_kept() -> None:
    first = dict(status_of_runtime(runtime(1), at(0)))
    other = {**first["conditions"][0], "type": "example.com/Checked"}
    first["conditions"] = [*first["conditions"], other]
    again = status_of_runtime(runtime(2, first, default=True), at(60))
    assert [one["lastTransitionTime"] for one in again["conditions"]] == [moment(0), moment(0)]
    assert again["conditions"][1] == other
    assert status_of_runtime(runtime(2, again, default=True), at(90)) == again
    wrong = status_of_runtime(runtime(3, again, default=3), at(120))
    assert wrong["conditions"][0]["lastTransitionTime"] == moment(120)


@pytest.mark.parametrize("status", [{"conditions": 3}, {"conditions": [{"type": "Accepted"}]}, {"x": 1}])
def test_an_invalid_status_is_replaced(status: Any) -> None:
    assert accepted(runtime(1, status))[0] == "True"
