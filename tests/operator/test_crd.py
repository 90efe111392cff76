"""The CRD in an API server, which must refuse the same manifests as `cluster_rules.py`."""

from typing import Any

import pytest
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from dreambooth_api.cluster_rules import validate
from dreambooth_api.job import GROUP, PLURAL, VERSION
from dreambooth_operator.kube.client import Cluster
from tests.operator.clusters import applied_job, with_cluster

WRONG: list[tuple[str, Any, str]] = [
    ("subject.images", {}, "exactly one of"),
    ("subject.images", {"configMap": {"name": "a"}, "image": {"reference": "b"}}, "exactly one of"),
    ("subject.images", {"path": "photos"}, "pods can't see"),
    ("subject.prompt", "a photo of it", "{identifier} and {class}"),
    ("subject.identifier", "dog", "another word"),
    ("prior.prompt", "a {identifier} {class}", "not {identifier}"),
    ("prior.weight", -1, "greater than or equal to 0"),
    ("prior.sampler.scheduler", "pndm", "Unsupported value"),
    ("model.source", "/models/sd", "pods see no other path"),
    ("model.source", "hf://nobody", "pods see no other path"),
    ("model.revision", "main", "no effect unless source"),
    ("model.tokenSecret", {"name": "hub"}, "no effect unless source"),
    ("model.config", "/models/sd", "pods see no other path"),
    ("model.config", "pvc://../sd", "pods see no other path"),
    ("evaluation.encoder", "clip", "pods see no other path"),
    ("training.warmupSteps", 400, "less than steps"),
    ("training.learningRate", 0, "should be greater than 0"),
    ("training.textEncoderLearningRate", 1e-5, "no effect unless trainTextEncoder"),
    ("training.resolution", 500, "multiple of 8"),
    ("deepspeed.zeroStage", 4, "Unsupported value"),
    ("deepspeed", {"zeroStage": 0, "offload": {"optimizer": True}}, "at least 1"),
    ("deepspeed", {"zeroStage": 2, "offload": {"parameters": True}}, "at least 3"),
    ("resources.memory", "1Gi", "not be more than memory"),
    ("resources.memory", "much", "should match"),
    ("resources.gpuResourceName", "hugepages-2Mi", "should match"),
    ("runtime", "Big", "should match"),
    ("image", "registry/trainer:1\n", "should match"),
    ("output.formats", [], "at least 1 items"),
    ("volumes.output.claimName", "Not_A_Name", "should match"),
]


def with_field(namespace: str, path: str, value: Any) -> dict[str, Any]:
    """A DreamBoothJob that is valid except for one field."""
    job = applied_job(namespace)
    *parents, name = path.split(".")
    section = job["spec"]
    for parent in parents:
        section = section.setdefault(parent, {})
    section[name] = value
    return job


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_invalid_fields_are_refused_by_the_api_server_and_the_operator(
    namespace: str, path: str, value: Any, words: str
) -> None:
    wrong = with_field(namespace, path, value)
    _, problems = validate({**wrong, "metadata": {"name": "dog", "namespace": namespace}})
    assert any(problem.field.startswith(f"spec.{path.partition('.')[0]}") for problem in problems)

    async def test(cluster: Cluster) -> None:
        with pytest.raises(ApiException) as error:
            await _jobs(cluster).create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, wrong)
        assert error.value.status == 422
        assert words in str(error.value.body)

    with_cluster(test)


@pytest.mark.parametrize("name", ["9dogs", "d" * 51, "dog.one"])
def test_names_that_are_invalid_for_pods_are_refused(namespace: str, name: str) -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(ApiException, match=r"metadata\.name must have"):
            job = applied_job(namespace, name)
            await _jobs(cluster).create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, job)

    with_cluster(test)


def test_defaults_are_set_and_valid(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        job = await cluster.create(applied_job(namespace))
        assert job["spec"]["prior"]["sampler"] == {"scheduler": "ddpm", "steps": 25, "guidanceScale": 1}
        assert job["spec"]["retries"] == 3
        read, problems = validate(job)
        assert problems == []
        assert read == validate(applied_job(namespace))[0]

    with_cluster(test)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.steps", 5),
        ("subject.class", "cat"),
        ("scheduling.queueName", "other"),
        ("image", "another"),
        ("runtime", "big"),
    ],
)
def test_the_spec_is_immutable(namespace: str, path: str, value: Any) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(applied_job(namespace))
        changed = with_field(namespace, path, value)
        with pytest.raises(ApiException, match="can't be changed"):
            await _patch(cluster, namespace, changed["spec"])

    with_cluster(test)


@pytest.mark.parametrize(
    "change", [{"suspend": True}, {"activeDeadlineSeconds": 9}, {"ttlSecondsAfterFinished": 9}, {"retries": 9}]
)
def test_mutable_fields(namespace: str, change: dict[str, Any]) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(applied_job(namespace))
        changed = await _patch(cluster, namespace, change)
        assert {name: changed["spec"][name] for name in change} == change

    with_cluster(test)


def _jobs(cluster: Cluster) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(client.ApiClient(cluster.configuration))


async def _patch(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> Any:
    return await _jobs(cluster).patch_namespaced_custom_object(
        GROUP, VERSION, namespace, PLURAL, "dog", {"spec": spec}, _content_type="application/merge-patch+json"
    )
