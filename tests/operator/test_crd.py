"""The CRD in an API server, which must refuse the same manifests as `cluster_rules.py`."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from dreambooth_api.cluster_rules import validate
from dreambooth_api.job import PLURAL
from dreambooth_api.runtime import RUNTIME_KIND, DreamBoothRuntimeSpec, Runtime
from dreambooth_api.workload import API_VERSION, GROUP, VERSION
from dreambooth_operator.decide.policies.start import plan_start
from dreambooth_operator.decide.programs import program_of
from dreambooth_operator.decide.status.stored import stored_status
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.settings import Settings
from tests.conftest import Cluster as Kubectl
from tests.docs.written import commands
from tests.operator.clusters import applied_job, with_cluster
from tests.operator.pieces import preferred_nodes, required_nodes


def subjects(**second: Any) -> list[dict[str, Any]]:
    """Two subjects, the second one with other fields."""
    images = {"configMap": {"name": "photos"}}
    first = {"name": "rex", "class": "dog", "identifier": "sks", "images": images}
    return [first, {"name": "tom", "class": "cat", "images": images, **second}]


WRONG: list[tuple[str, Any, str]] = [
    ("subjects", subjects()[:1], "at least 2 items"),
    (
        "subjects",
        [{**subjects()[0], "name": f"dog-{number}", "identifier": "auto"} for number in range(9)],
        "at most 8 items",
    ),
    ("subjects", subjects(name="rex"), "Duplicate value"),
    ("subjects", subjects(name="Tom"), "should match"),
    ("subjects", subjects(name="class"), "placeholders for each subject"),
    ("subjects", subjects(identifier="SKS"), "another identifier"),
    ("subjects", subjects(identifier="cat"), "another word than class"),
    ("subjects", subjects(prompt="a {identifier}"), "{identifier} and {class}"),
    ("subjects", subjects(images={"path": "photos"}), "pods can't see"),
    ("subjects", subjects(images={}), "exactly one of"),
    ("subject.images", {}, "exactly one of"),
    ("subject.images", {"configMap": {"name": "a"}, "image": {"reference": "b"}}, "exactly one of"),
    ("subject.images", {"path": "photos"}, "pods can't see"),
    ("subject.prompt", "a photo of it", "{identifier} and {class}"),
    ("subject.identifier", "dog", "another word"),
    ("prior.prompt", "a {identifier} {class}", "not {identifier}"),
    ("prior.source", {}, "where the class images are"),
    ("prior.source", {"configMap": {"name": "a"}, "image": {"reference": "b"}}, "where the class images are"),
    ("prior.source", {"path": "dogs"}, "pods can't see"),
    ("prior.source", {"configMap": {"name": "../a"}}, "should match"),
    (
        "prior",
        {"enabled": False, "source": {"configMap": {"name": "a"}}},
        "no effect, because prior.enabled is false",
    ),
    ("prior.weight", -1, "greater than or equal to 0"),
    ("prior.sampler.scheduler", "pndm", "Unsupported value"),
    ("model.source", "/models/sd", "pods see no other path"),
    ("model.source", "hf://nobody", "pods see no other path"),
    ("model", {}, "spec.model.source"),
    ("model.revision", "main", "no effect unless source"),
    ("model", {"source": "hf://a/b", "config": "a/b"}, "source is a folder with its own configuration"),
    ("model", {"source": "pvc://a/b.safetensors", "variant": "fp16"}, "source is a single file"),
    ("model.tokenSecret", {"name": "hub"}, "no effect unless source"),
    ("monitoring.wandb", {"project": "dogs", "mode": "online"}, "apiKeySecret must be given for the mode online"),
    ("monitoring.wandb", {"project": "dogs", "apiKeySecret": {"name": "wandb"}}, "has no effect for offline"),
    ("monitoring.wandb", {"project": "a/b"}, "should match"),
    ("output.upload", {"to": "s3://results/rex"}, "secret must name the Secret"),
    ("output.upload", {"to": "s3://results/rex", "secret": {"name": "s"}, "private": False}, "private has no effect"),
    ("output.upload", {"to": "s3://results/../other", "secret": {"name": "s"}}, "should match"),
    ("output.upload", {"to": "file:///output", "secret": {"name": "s"}}, "should match"),
    ("output.upload", {"to": "hf://rex", "secret": {"name": "s"}}, "should match"),
    ("model.config", "/models/sd", "pods see no other path"),
    ("model.config", "pvc://../sd", "pods see no other path"),
    ("evaluation.encoder", "clip", "pods see no other path"),
    ("subject.captions", {"1.jpg": ""}, "at least 1 chars"),
    ("subject.captionDropout", 1, "less than 1"),
    ("subject.mask", "alpha", "Unsupported value"),
    ("subject.crop", "smart", "Unsupported value"),
    ("training.warmupSteps", 400, "less than steps"),
    ("training", {"steps": 1, "stopping": "best"}, "nothing to choose from, because steps is 1"),
    ("training.stopping", "first", "Unsupported value"),
    ("training.lora", {"useDora": True}, "no effect, because training.method is full"),
    ("training.quantization", "nf4", "no effect, because training.method is full"),
    ("training.quantization", "fp4", "Unsupported value"),
    (
        "training",
        {"method": "lora", "lora": {"useDora": True}, "trainTextEncoder": True},
        "useDora is not supported for text encoders",
    ),
    ("training.learningRate", 0, "should be greater than 0"),
    ("training.textEncoderLearningRate", 1e-5, "no effect, because training.trainTextEncoder is false"),
    ("training.lora", {"rank": 4}, "no effect, because training.method is full"),
    ("training.lora", {"alpha": 4}, "no effect, because training.method is full"),
    ("training.lora", {"targets": ["to_q"]}, "no effect, because training.method is full"),
    ("training.ema.decay", 0.9, "no effect, because training.ema.enabled is false"),
    ("prior", {"enabled": False, "weight": 2}, "no effect, because prior.enabled is false"),
    ("prior", {"enabled": False, "sampler": {"steps": 5}}, "no effect, because prior.enabled is false"),
    ("prior", {"target": "noise", "noisings": 2}, "no effect, because prior.target is noise"),
    ("prior", {"target": "noise", "otherWords": 0}, "no effect, because prior.target is noise"),
    ("prior", {"unconditionalShare": 0, "otherWords": 9}, "no effect, because prior.unconditionalShare is 0"),
    ("samples", {"prompts": [], "perPrompt": 2}, "no effect, because samples.prompts is []"),
    ("samples", {"prompts": [], "everySteps": 2}, "no effect, because samples.prompts is []"),
    ("evaluation", {"enabled": False, "perPrompt": 2}, "no effect, because evaluation.enabled is false"),
    ("evaluation", {"enabled": False, "contexts": ["a", "b"]}, "no effect, because evaluation.enabled is false"),
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
    ("volumes.output.claimName", "a..b", "should match"),
    ("volumes.output.create.size", "0Gi", "greater than 0"),
    ("volumes.output.create.storageClassName", "Fast SSD", "should match"),
    ("volumes.output.create.accessModes", ["ReadWriteMany", "ReadWriteOncePod"], "in addition to ReadWriteOncePod"),
    ("volumes.cache", {"claimName": "a.-b"}, "should match"),
    ("subject.images.configMap.name", "a..b", "should match"),
    ("model", {"source": "pvc://a..b/sd"}, "pods see no other path"),
    ("model", {"source": "hf://a/b", "tokenSecret": {"name": "a-.b"}}, "should match"),
    ("model", {"source": "hf://a/b", "tokenSecret": {"name": "a", "key": "..b"}}, "should match"),
    ("model", {"source": "hf://a/b", "tokenSecret": {"name": "a", "key": "."}}, "should match"),
    ("resources.gpuResourceName", "example.com/" + "g" * 64, "should match"),
    ("resources.gpuResourceName", "node.kubernetes.io/gpu", "extended resource"),
    ("resources", {"gpuResourceName": "requests.example.com/gpu"}, "extended resource"),
    ("resources.gpuResourceName", "amd.com/gpu", "no effect, because gpusPerNode is 0"),
    ("volumes.output", {"claimName": "a", "create": {"deletionPolicy": "Delete"}}, "claimName names an existing claim"),
    ("resources.gpuResourceName", "example..com/gpu", "should match"),
    ("scheduling.tolerations", [{"effect": "NoSchedule"}], "needs the operator Exists"),
    ("scheduling.tolerations", [{}], "needs the operator Exists"),
    ("scheduling.tolerations", [{"key": "a b", "operator": "Exists"}], "should match"),
    ("scheduling.tolerations", [{"key": "a", "value": "b c"}], "should match"),
    ("scheduling.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}], "no effect for the operator Exists"),
    ("scheduling.tolerations", [{"key": "a", "tolerationSeconds": 5}], "needs the effect NoExecute"),
    ("scheduling.tolerations", [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 2**63}], "less than or equal"),
    ("scheduling.nodeSelector", {"a b": "c"}, "key of a label"),
    ("scheduling.nodeSelector", {"a/b/c": "d"}, "key of a label"),
    ("scheduling.nodeSelector", {"": "a"}, "key of a label"),
    ("scheduling.nodeSelector", {"a": "b c"}, "should match"),
    ("scheduling.priorityClassName", "a..b", "should match"),
    ("scheduling.queueName", "a" * 64, "Too long"),
    ("scheduling.workloadPriorityClassName", "A", "should match"),
    ("scheduling.topology", {}, "either required or preferred"),
    ("scheduling.topology", {"required": "a", "preferred": "b"}, "either required or preferred"),
    ("scheduling.topology", {"required": "a b"}, "should match"),
    ("runtime", "a..b", "should match"),
]
SUBJECT = {"class": "dog", "images": {"configMap": {"name": "photos"}}}
SOUND: list[tuple[str, Any]] = [
    ("scheduling.tolerations", [{"operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute", "value": ""}]),
    ("scheduling.tolerations", [{"key": "a.b/c", "value": "d", "effect": "NoExecute", "tolerationSeconds": 0}]),
    ("scheduling.nodeSelector", {"a": "", "node.kubernetes.io/A_b.c": "1.x_Y"}),
    ("scheduling.queueName", "a.b-c"),
    ("scheduling", {"queueName": "a", "workloadPriorityClassName": "a.b", "topology": {"preferred": "a.b/rack"}}),
    ("model", {"source": "hf://a/b", "tokenSecret": {"name": "a.b", "key": ".token"}}),
    ("model", {"source": "pvc://a.b/sd"}),
    ("output.upload", {"to": "s3://results/dogs/rex_1", "secret": {"name": "store"}, "parts": ["model"]}),
    ("output.upload", {"to": "hf://studio/rex-v1.0", "secret": {"name": "hub"}, "private": False}),
    ("monitoring", {"tensorboard": True, "wandb": {"project": "dogs", "entity": "team"}}),
    ("monitoring.wandb", {"project": "dogs", "mode": "online", "apiKeySecret": {"name": "wandb", "key": "key"}}),
    ("resources", {"gpuResourceName": "gpu.example.com/mig-1g.5gb"}),
    ("training", {"steps": 2, "stopping": "best"}),
    ("training", {"method": "lora", "lora": {"rank": 4, "alpha": 4}, "ema": {"enabled": True, "decay": 0.9}}),
    ("training", {"method": "lora", "lora": {"targets": ["attention+ff"], "useDora": True}}),
    ("training", {"method": "lora", "quantization": "nf4"}),
    ("prior", {"enabled": False}),
    ("prior.source", {"persistentVolumeClaim": {"claimName": "shelf", "path": "dogs"}}),
    ("prior.source", {"image": {"reference": "registry/dogs:1", "pullPolicy": "Always"}}),
    ("prior", {"target": "noise", "unconditionalShare": 0}),
    ("samples", {"prompts": [], "steps": 30}),
    ("evaluation.enabled", False),
    ("resources", {"gpusPerNode": 16, "cpu": "0", "memory": "0.1", "sharedMemory": "0", "ephemeralStorage": "0"}),
    ("resources", {"cpu": "9" * 31 + "E", "memory": "0", "sharedMemory": "0", "ephemeralStorage": "1m"}),
    ("volumes.output.create", {"size": "1m", "storageClassName": "", "accessModes": ["ReadWriteOncePod"]}),
    ("volumes.cache", {"claimName": "dog"}),
    ("subject.images", {"image": {"reference": " an image "}}),
    ("subject.captions", {"my photo.JPG": "a {identifier} {class} on a sofa", "2.heic": "{identifier}"}),
    ("subject", {**SUBJECT, "identifier": "Sks", "captions": {"1.jpg": "a sks dog"}, "captionDropout": 0.5}),
    ("subject.mask", "loss"),
    ("subject.crop", "none"),
    ("subjects", subjects()),
    ("subjects", subjects(name="t-2", identifier="auto", crop="none", captions={"1.jpg": "a {identifier}"})),
]


def with_field(namespace: str, path: str, value: Any) -> dict[str, Any]:
    """A DreamBoothJob that is valid except for one field."""
    job = applied_job(namespace)
    if path == "subjects":
        del job["spec"]["subject"]
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


@pytest.mark.parametrize(
    ("training", "others", "words"),
    [
        (
            {"method": "lora", "lora": {"useDora": True}},
            {"output": {"formats": ["diffusers", "comfyui"]}},
            "useDora is not supported for the format comfyui",
        ),
        ({"stopping": "best"}, {"evaluation": {"enabled": False}}, "stopping best needs the figures of the evaluation"),
        (
            {"method": "lora", "quantization": "int8"},
            {"deepspeed": {"zeroStage": 3}},
            "quantization can't be combined with ZeRO stage 3",
        ),
        (
            {"method": "lora", "quantization": "nf4"},
            {"deepspeed": {"offload": {"parameters": True}}},
            "quantization can't be combined with ZeRO stage 3",
        ),
    ],
    ids=["dora", "stopping", "quantization", "quantization and offloading"],
)
def test_a_training_that_contradicts_another_section_is_refused(
    namespace: str, training: dict[str, Any], others: dict[str, Any], words: str
) -> None:
    async def test(cluster: Cluster) -> None:
        wrong = with_field(namespace, "training", training)
        wrong["spec"] |= others
        with pytest.raises(ApiException, match=words):
            await _jobs(cluster).create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, wrong)

    with_cluster(test)


@pytest.mark.parametrize(("path", "value"), SOUND, ids=str)
def test_sound_fields_are_accepted_by_the_api_server_and_the_operator(namespace: str, path: str, value: Any) -> None:
    """So are the objects that follow from them."""

    async def test(cluster: Cluster) -> None:
        created = await cluster.create(with_field(namespace, path, value))
        job, problems = validate(created)
        assert job is not None and problems == []
        program, runtime = program_of(job, None), Runtime(None, DreamBoothRuntimeSpec())
        assert program is not None
        start = plan_start(created, job, program, 0, {}, runtime, Settings(trainer_image="trainer"))
        for item in start.create:
            await cluster.check(item)

    with_cluster(test)


def test_the_volume_of_several_nodes_can_be_shared(namespace: str) -> None:
    wrong = with_field(namespace, "volumes.output.create.accessModes", ["ReadWriteOnce"])
    wrong["spec"]["resources"]["nodes"] = 2
    assert [problem.field for problem in validate(wrong)[1]] == ["spec.volumes.output.create.accessModes"]

    async def test(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match="ReadWriteMany for several nodes"):
            await cluster.create(wrong)
        wrong["spec"]["volumes"]["output"] = {"claimName": "shared"}
        await cluster.create(wrong)

    with_cluster(test)


RUNTIMES: list[tuple[dict[str, Any], str]] = [
    ({"affinity": {}}, "nodeAffinity: Required value"),
    (required_nodes(), "at least 1 items"),
    (required_nodes({"key": "a", "operator": "In"}), "values must be given"),
    (required_nodes({"key": "a", "operator": "Gt", "values": ["x"]}), "one whole number"),
    (preferred_nodes({"key": "a", "operator": "Exists", "values": ["b"]}), "values must be given"),
    (preferred_nodes({"key": "a", "operator": "Lt", "values": ["1", "2"]}), "one whole number"),
    (preferred_nodes({"key": "a", "operator": "Exists"}, weight=101), "less than or equal to 100"),
    ({"tolerations": [{"effect": "NoSchedule"}]}, "needs the operator Exists"),
    ({"nodeSelector": {"a b": "c"}}, "key of a label"),
    ({"queueNames": ["a" * 64]}, "Too long"),
    ({"topology": {}}, "either required or preferred"),
    ({"podLabels": {"dreambooth.io/job": "cat"}}, "reserved for the operator"),
    ({"podLabels": {"sub.dreambooth.io/x": "y"}}, "reserved for the operator"),
    ({"podLabels": {"app.kubernetes.io/name": "x"}}, "reserved for the operator"),
    ({"podLabels": {"job-name": "x"}}, "reserved for the operator"),
    ({"podLabels": {"a": "b c"}}, "should match"),
    ({"podLabels": {"a b": "c"}}, "key of a label"),
    ({"podAnnotations": {"kueue.x-k8s.io/podset-required-topology": "rack"}}, "reserved for the operator"),
    ({"podAnnotations": {"a": "b" * 4097}}, "may not be more than 4096"),
    ({"env": [{"name": "HF_TOKEN", "value": "hf_x"}]}, "the operator sets"),
    ({"env": [{"name": "1A", "value": ""}]}, "should match"),
    ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "set once"),
    ({"schedulerName": "A b"}, "should match"),
    ({"runtimeClassName": "a..b"}, "should match"),
    ({"imagePullSecretNames": ["a..b"]}, "should match"),
    ({"podUser": "Root"}, "Unsupported value"),
    ({"caBundle": {"configMapName": "a", "key": ".."}}, "should match"),
    ({"resources": {"cpu": "2", "cpuLimit": "1"}}, "not be more than cpuLimit"),
    ({"resources": {"extended": {"nvidia.com/gpu": 1}}}, "counts the GPUs"),
    ({"resources": {"extended": {"memory": 1}}}, "must be an extended resource"),
    ({"resources": {"extended": {"rdma/hca": 0}}}, "greater than or equal to 1"),
    ({"resources": {"gpuResourceName": "kubernetes.io/gpu"}}, "extended resource"),
    ({"volumes": {"cache": {"claimName": "a..b"}}}, "should match"),
]


@pytest.mark.parametrize(("spec", "words"), RUNTIMES, ids=str)
def test_runtimes_with_which_no_pod_can_be_created_are_refused(
    namespace: str, spec: dict[str, Any], words: str
) -> None:
    async def test(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match=words) as caught:
            await cluster.create(
                {"apiVersion": API_VERSION, "kind": RUNTIME_KIND, "metadata": {"name": namespace}, "spec": spec}
            )
        assert caught.value.status == 422

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
        ("scheduling.nodeSelector", {"gpu": "a100"}),
        ("scheduling.tolerations", [{"operator": "Exists"}]),
        ("scheduling.topology", {"required": "rack"}),
        ("image", "another"),
        ("runtime", "big"),
    ],
)
def test_the_spec_is_immutable(namespace: str, path: str, value: Any) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(applied_job(namespace))
        changed = with_field(namespace, path, value)
        with pytest.raises(ApiException, match=r"can't be changed.* also with more training\.steps"):
            await _patch(cluster, namespace, changed["spec"])

    with_cluster(test)


@pytest.mark.parametrize("field", ["queueName", "priorityClassName", "workloadPriorityClassName"])
def test_queue_and_priority_change_only_while_suspended(namespace: str, field: str) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(applied_job(namespace))
        for name in ("a", "b", None):
            with pytest.raises(ApiException, match=f"{field} can only be changed while suspend is true"):
                await _patch(cluster, namespace, {"scheduling": {field: name or "c"}})
            changed = await _patch(cluster, namespace, {"suspend": True, "scheduling": {field: name}})
            assert changed["spec"]["scheduling"].get(field) == name
            await _patch(cluster, namespace, {"suspend": False})

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


def test_dreamboothjobs_are_selected_by_fields(cluster: Kubectl, namespace: str) -> None:
    queued = applied_job(namespace, "queued")
    queued["spec"] |= {"scheduling": {"queueName": "team"}, "runtime": "small"}
    for job in (applied_job(namespace), queued):
        cluster.kubectl("create", "--filename", "-", stdin=json.dumps(job))
    status = {"phase": "Pending", "runtime": "big"}
    patch = f"--patch={json.dumps({'status': status})}"
    cluster.kubectl("patch", "dbj", "dog", "-n", namespace, "--subresource=status", "--type=merge", patch)

    def names(selector: str) -> list[str]:
        options = f"--namespace={namespace}", f"--field-selector={selector}"
        return [item["metadata"]["name"] for item in cluster.items("dreamboothjobs", *options)]

    assert names("status.phase=Pending,status.runtime=big") == ["dog"]
    assert names("status.phase!=Pending") == ["queued"]
    assert names("spec.scheduling.queueName=team,spec.runtime=small") == ["queued"]
    for command in commands(Path("docs/api-policy.md")):
        cluster.kubectl(*shlex.split(command)[1:])


def test_the_category_has_all_kinds_and_all_has_none(cluster: Kubectl, namespace: str) -> None:
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(applied_job(namespace)))
    # Without a selector, DreamBoothJobs of tests that run at the same time would have to name it.
    spec = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    runtime = {"apiVersion": API_VERSION, "kind": RUNTIME_KIND, "metadata": {"name": namespace}, "spec": spec}
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(runtime))
    options = "--output=name", f"--namespace={namespace}"
    try:
        listed = cluster.kubectl("get", "dreambooth", *options)
    finally:
        cluster.kubectl("delete", "dbr", namespace)
    assert "dreamboothjob.dreambooth.io/dog" in listed
    assert f"dreamboothruntime.dreambooth.io/{namespace}" in listed
    assert "dreambooth" not in cluster.kubectl("get", "all", *options)


CONDITION = {
    "type": "Accepted",
    "status": "True",
    "reason": "Sound",
    "message": "",
    "lastTransitionTime": "2030-01-01T00:00:00Z",
    "observedGeneration": 1,
}
STATUSES: list[tuple[dict[str, Any], str | None]] = [
    ({"phase": "Paused", "conditions": [{**CONDITION, "type": "example.com/Checked", "reason": "By_hand,1:a"}]}, None),
    ({"phase": "two words"}, "status.phase"),
    ({"message": "m" * 32769}, "status.message"),
    ({"conditions": [{**CONDITION, "reason": "two words"}]}, "reason"),
    ({"conditions": [{**CONDITION, "reason": ""}]}, "reason"),
    ({"conditions": [{**CONDITION, "type": "a b"}]}, "type"),
    ({"conditions": [{**CONDITION, "message": "m" * 32769}]}, "message"),
    ({"attempts": [{"number": 0, "jobName": "dog-0", "reason": "no reason"}]}, "reason"),
    ({"attempts": [{"number": 2**63, "jobName": "dog-0"}]}, "number"),
]


@pytest.mark.parametrize(("status", "refused"), STATUSES, ids=lambda value: str(value)[:60])
def test_phases_and_types_are_open_and_texts_have_the_form_of_kubernetes(
    cluster: Kubectl, namespace: str, status: dict[str, Any], refused: str | None
) -> None:
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(applied_job(namespace)))
    patch = f"--patch={json.dumps({'status': status})}"
    words = "patch", "dbj", "dog", "-n", namespace, "--subresource=status", "--type=merge", patch, "--output=json"
    if refused is None:
        stored = json.loads(cluster.kubectl(*words))["status"]
        assert {name: stored[name] for name in status} == status
        read = stored_status({"status": stored})
        assert (read.phase, [one.type for one in read.conditions]) == ("Paused", ["example.com/Checked"])
    else:
        with pytest.raises(AssertionError, match=refused):
            cluster.kubectl(*words)


def _jobs(cluster: Cluster) -> client.CustomObjectsApi:
    return client.CustomObjectsApi(client.ApiClient(cluster.configuration))


async def _patch(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> Any:
    return await _jobs(cluster).patch_namespaced_custom_object(
        GROUP, VERSION, namespace, PLURAL, "dog", {"spec": spec}, _content_type="application/merge-patch+json"
    )


def test_a_job_has_either_a_subject_or_several(namespace: str) -> None:
    job = with_field(namespace, "subjects", subjects())
    both = {**job, "spec": {**job["spec"], "subject": SUBJECT}}
    none = {**job, "spec": {name: value for name, value in job["spec"].items() if name != "subjects"}}
    mixed = with_field(namespace, "subjects", subjects())
    mixed["spec"]["prior"] = {"source": {"configMap": {"name": "dogs"}}}

    async def test(cluster: Cluster) -> None:
        for wrong, words in (
            (both, "either subject or"),
            (none, "either subject or"),
            (mixed, "the subjects have several"),
        ):
            assert {problem.field for problem in validate(wrong)[1]} <= {
                "spec.subject",
                "spec.subjects",
                "spec.prior.source",
            }
            with pytest.raises(ClusterError, match=words):
                await cluster.create(wrong)
        await cluster.create(job)
        for changed in (
            {**job["spec"], "subjects": subjects(identifier="xyz")},
            with_field(namespace, "subject", SUBJECT)["spec"],
        ):
            body = {"spec": {"subject": None, "subjects": None, **changed}}
            with pytest.raises(ApiException, match="can't be changed"):
                await _jobs(cluster).patch_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, "dog", body)

    with_cluster(test)
