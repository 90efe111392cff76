from typing import Any

import pytest

from dreambooth_api.runtime import DreamBoothRuntimeSpec, Runtime
from dreambooth_operator.decide.policies.apply_runtime import with_runtime
from tests.operator.pieces import read

KUEUE = {"workloadPriorityClassNames": ["low", "high"], "topology": {"required": "rack"}}
GPU = {"key": "gpu", "operator": "Exists"}


@pytest.mark.parametrize(
    ("spec", "given", "path", "expected"),
    [
        ({}, {"image": "a:1"}, "image", "a:1"),
        ({"image": "own:1"}, {"image": "a:1"}, "image", "own:1"),
        ({"resources": {"memory": "9Gi"}}, {"resources": {"memory": "5Gi"}}, "resources.memory", "5Gi"),
        ({"resources": {"memory": "9Gi"}}, {"resources": {"cpu": "1"}}, "resources.memory", "9Gi"),
        ({"resources": {"nodes": 2}}, {"resources": {"cpu": "1"}}, "resources.nodes", 2),
        (
            {"scheduling": {"nodeSelector": {"zone": "a"}}},
            {"nodeSelector": {"gpu": "b"}},
            "scheduling.nodeSelector",
            {"zone": "a", "gpu": "b"},
        ),
        ({}, {"priorityClassNames": ["low", "high"]}, "scheduling.priorityClassName", "low"),
        (
            {"scheduling": {"priorityClassName": "high"}},
            {"priorityClassNames": ["low", "high"]},
            "scheduling.priorityClassName",
            "high",
        ),
        ({}, {"queueNames": ["team"]}, "scheduling.queueName", "team"),
        ({}, {"queueNames": ["a"], **KUEUE}, "scheduling.workloadPriorityClassName", "low"),
        ({}, {"queueNames": ["a"], **KUEUE}, "scheduling.topology.required", "rack"),
        ({}, KUEUE, "scheduling.workloadPriorityClassName", None),
        ({}, KUEUE, "scheduling.topology", None),
        (
            {"scheduling": {"queueName": "a", "topology": {"preferred": "b"}}},
            KUEUE,
            "scheduling.topology.preferred",
            "b",
        ),
        ({"scheduling": {"queueName": "own"}}, {}, "scheduling.queueName", "own"),
        ({}, {"volumes": {"cache": {"claimName": "a"}}}, "volumes.cache.claimName", "a"),
        (
            {"volumes": {"cache": {"claimName": "b"}}},
            {"volumes": {"cache": {"claimName": "a"}}},
            "volumes.cache.claimName",
            "b",
        ),
    ],
)
def test_fields_from_runtime_and_spec(spec: Any, given: Any, path: str, expected: Any) -> None:
    runtime = Runtime("a", DreamBoothRuntimeSpec.model_validate(given, by_name=False))
    found: Any = with_runtime(read(**spec), runtime).spec.model_dump(by_alias=True)
    for name in path.split("."):
        found = found[name]
    assert found == expected


def test_tolerations_come_from_the_runtime() -> None:
    runtime = Runtime("a", DreamBoothRuntimeSpec.model_validate({"tolerations": [GPU]}, by_name=False))
    for asked in ([], [GPU]):
        tolerations = with_runtime(read(scheduling={"tolerations": asked}), runtime).spec.scheduling.tolerations
        assert [one.key for one in tolerations] == ["gpu"]


def test_a_dreamboothjob_without_a_runtime_is_unchanged() -> None:
    job = read(scheduling={"tolerations": [GPU]})
    assert with_runtime(job, Runtime(None, DreamBoothRuntimeSpec(image="a:1"))) is job
