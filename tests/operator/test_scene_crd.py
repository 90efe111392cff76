"""The CustomResourceDefinition of DreamBoothScenes in an API server."""

import json
from typing import Any

import pytest

from dreambooth_api.cluster_rules import readable, validate
from dreambooth_api.dreamboothscene import SCENE_KIND, SCENE_NAME_LENGTH, SCENE_PLURAL
from dreambooth_api.job import NAME_LENGTH, DreamBoothJob
from dreambooth_api.runtime import DreamBoothRuntimeSpec, Runtime
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.decide.policies.start import plan_start
from dreambooth_operator.decide.programs import program_of
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.settings import Settings
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import applied_job, with_cluster

SPEC: dict[str, Any] = {"jobName": "rex", "prompts": ["a {identifier} {class}"], "resources": {"gpusPerNode": 0}}
MODEL: dict[str, Any] = {
    "jobName": None,
    "model": {"source": "pvc://runs/dog/model/diffusers"},
    "volumes": {"output": {"claimName": "pictures"}},
}
"""What a scene has that names a model."""
GIVEN: dict[str, Any] = {"size": {"width": 512, "height": 512}, "adapterScale": 0.5, "step": 100, "image": "a:1"}


def scene(namespace: str, name: str = "beach", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": SCENE_KIND, "metadata": metadata, "spec": {**SPEC, **spec}}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"prompts": []}, "at least 1 items"),
        ({"prompts": [""]}, "at least 1 chars"),
        ({"prompts": ["a"] * 51}, "at most 50 items"),
        ({"jobName": "Rex"}, "should match"),
        ({"jobName": None}, "either jobName"),
        ({"model": MODEL["model"], "volumes": MODEL["volumes"]}, "either jobName"),
        ({**MODEL, "volumes": {}}, "volumes.output.claimName must name a claim for the pictures"),
        ({**MODEL, "step": 9}, "step has no effect"),
        ({**MODEL, "adapterScale": 0.5}, "adapterScale has no effect"),
        ({**MODEL, "model": {}}, "Required value"),
        ({**MODEL, "model": {"source": "/models/dog"}}, "source must be"),
        ({**MODEL, "model": {"source": "embedded://emoji", "identifier": "a b", "class": "b"}}, "should match"),
        ({**MODEL, "model": {**MODEL["model"], "revision": "v1"}}, "revision has no effect"),
        ({**MODEL, "model": {**MODEL["model"], "tokenSecret": {"name": "hub"}}}, "tokenSecret has no effect"),
        ({**MODEL, "model": {**MODEL["model"], "config": "a/../b"}}, "config must be"),
        ({**MODEL, "model": {**MODEL["model"], "adapters": [{"source": "embedded://emoji"}]}}, "source must be hf://"),
        ({**MODEL, "model": {**MODEL["model"], "adapters": [{"source": "lora"}]}}, "source must be hf://"),
        (
            {**MODEL, "model": {**MODEL["model"], "adapters": [{"source": "pvc://a", "scale": -1}]}},
            "greater than or equal",
        ),
        ({**MODEL, "model": {**MODEL["model"], "adapters": [{"source": "pvc://a"}] * 9}}, "at most 8 items"),
        ({"perPrompt": 0}, "greater than or equal to 1"),
        ({"size": {"width": 500, "height": 512}}, "multiple of 8"),
        ({"size": {"width": 512}}, "Required value"),
        ({"adapterScale": -1}, "greater than or equal to 0"),
        ({"step": 0}, "greater than or equal to 1"),
        ({"sampler": {"scheduler": "pndm"}}, "Unsupported value"),
        ({"negativePrompt": "blurry", "sampler": {"guidanceScale": 1}}, "negativePrompt has no effect"),
        ({"resources": {"nodes": 2}}, "Unsupported value"),
        ({"resources": {"gpusPerNode": 2}}, "less than or equal to 1"),
        ({"resources": {"memory": "1Gi"}}, "sharedMemory must not be more than memory"),
        ({"volumes": {"output": {"path": "/pictures"}}}, "should match"),
    ],
)
def test_a_wrong_field_is_refused_by_the_api_server_and_the_operator(
    namespace: str, spec: dict[str, Any], message: str
) -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match=message):
            await cluster.create(scene(namespace, **spec))

    with_cluster(test)
    assert validate(scene(namespace, **spec))[1] != []


def test_defaults_are_set_and_the_objects_that_follow_are_accepted(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        created = await cluster.create(scene(namespace, negativePrompt="blurry"))
        assert (created["spec"]["perPrompt"], created["spec"]["seed"]) == (4, 0)
        assert created["status"] == {"observedGeneration": -1}
        workload, problems = validate(created)
        assert workload is not None and problems == []
        job = readable(applied_job(namespace, "rex"))
        assert isinstance(job, DreamBoothJob)
        program, runtime = program_of(workload, job), Runtime(None, DreamBoothRuntimeSpec())
        assert program is not None
        for item in plan_start(created, workload, program, 0, {}, runtime, Settings(trainer_image="trainer")).create:
            await cluster.check(item)

    with_cluster(test)


def test_a_scene_by_a_model_is_accepted_and_so_are_the_objects_that_follow(namespace: str) -> None:
    adapters = [{"source": "hf://studio/style", "file": "styles/a.safetensors", "scale": 0.5}]
    model = {**MODEL["model"], "tokenSecret": {"name": "hub"}, "adapters": adapters}

    async def test(cluster: Cluster) -> None:
        created = await cluster.create(scene(namespace, **{**MODEL, "model": model}))
        assert created["spec"]["model"]["adapters"] == adapters
        workload, problems = validate(created)
        assert workload is not None and problems == []
        program, runtime = program_of(workload, None), Runtime(None, DreamBoothRuntimeSpec())
        assert program is not None
        for item in plan_start(created, workload, program, 0, {}, runtime, Settings(trainer_image="trainer")).create:
            await cluster.check(item)

    with_cluster(test)


def test_a_model_can_not_be_changed(namespace: str, cluster: Kubectl) -> None:
    item = scene(namespace, **MODEL)
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(item))
    options = f"{SCENE_PLURAL}/beach", f"--namespace={namespace}", "--type=merge"
    for change in ({"model": {"source": "embedded://emoji"}}, {"model": None, "jobName": "rex"}):
        with pytest.raises(AssertionError, match="model can't be changed"):
            cluster.kubectl("patch", *options, f"--patch={json.dumps({'spec': change})}")


@pytest.mark.parametrize(
    "change",
    [
        {"jobName": "max"},
        {"prompts": ["another"]},
        {"negativePrompt": "blurry"},
        {"perPrompt": 5},
        {"seed": 1},
        {"sampler": {"steps": 9}},
        {"size": None},
        {"adapterScale": 1},
        {"step": None},
        {"resources": {"memory": "20Gi"}},
        {"volumes": {"output": {"path": "elsewhere"}}},
        {"image": "b:1"},
    ],
    ids=str,
)
def test_what_is_generated_can_not_be_changed(namespace: str, cluster: Kubectl, change: dict[str, Any]) -> None:
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(scene(namespace, **GIVEN)))
    options = f"{SCENE_PLURAL}/beach", f"--namespace={namespace}", "--type=merge"
    with pytest.raises(AssertionError, match="can't be changed"):
        cluster.kubectl("patch", *options, f"--patch={json.dumps({'spec': change})}")
    for allowed in ({"suspend": True}, {"retries": 9}, {"ttlSecondsAfterFinished": 9}, {"activeDeadlineSeconds": 9}):
        cluster.kubectl("patch", *options, f"--patch={json.dumps({'spec': allowed})}")


def test_the_longest_name_is_that_of_its_pods(namespace: str) -> None:
    assert SCENE_NAME_LENGTH < NAME_LENGTH

    async def test(cluster: Cluster) -> None:
        await cluster.create(scene(namespace, "b" * SCENE_NAME_LENGTH))
        with pytest.raises(ClusterError, match=f"at most {SCENE_NAME_LENGTH}"):
            await cluster.create(scene(namespace, "b" * (SCENE_NAME_LENGTH + 1)))

    with_cluster(test)


def test_kubectl_shows_the_pictures(namespace: str, cluster: Kubectl) -> None:
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(scene(namespace)))
    status = {"phase": "Running", "progress": {"pictures": {"done": 3, "total": 4}}}
    cluster.kubectl(
        *("patch", "dbs", "beach", f"--namespace={namespace}", "--subresource=status", "--type=merge"),
        f"--patch={json.dumps({'status': status})}",
    )
    heading, row = cluster.kubectl("get", "dbs", f"--namespace={namespace}").splitlines()
    assert heading.split() == ["NAME", "PHASE", "JOB", "PICTURES", "TOTAL", "ETA", "AGE"]
    assert row.split()[:5] == ["beach", "Running", "rex", "3", "4"]
