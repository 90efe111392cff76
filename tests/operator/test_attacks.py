"""Attacks of a tenant on a real API server, with the role `edit` in one namespace.

Manifests that the API server accepts are passed to `reconcile`. They are harmless if the created objects are the same as for an
ordinary DreamBoothJob, or if no objects are created.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dreambooth_api.workload import API_VERSION
from dreambooth_operator.decide.reconcile import reconcile, references
from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABEL_JOB, LABEL_QUEUE
from dreambooth_operator.objects.observed import Object, Observed, Plan
from dreambooth_operator.settings import Settings
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import applied_job, until

SETTINGS = Settings(trainer_image="registry/trainer:1", allowed_images=["registry.good/*"])

RUNTIME = {
    "apiVersion": "dreambooth.io/v1alpha1",
    "kind": "DreamBoothRuntime",
    "metadata": {"name": "small"},
    "spec": {
        "default": True,
        "allowedImages": ["registry.good/*"],
        "tokenSecretNames": ["hub"],
        "allowedUploads": ["s3://team/*"],
        "nodeSelector": {"pool": "small"},
        "tolerations": [{"key": "pool", "value": "small"}],
        "priorityClassNames": ["low"],
        "queueNames": ["team"],
        "limits": {"steps": 400, "nodes": 1, "gpusPerNode": 1, "gpus": 1, "activeDeadlineSeconds": 3600},
    },
}

EDIT = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "test-dreamboothjobs-edit", "labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
    "rules": [
        {
            "apiGroups": ["dreambooth.io"],
            "resources": ["dreamboothjobs", "dreamboothscenes"],
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        }
    ],
}


class Tenant(NamedTuple):
    """A person with the role `edit` in one namespace."""

    cluster: Kubectl
    namespace: str

    def kubectl(self, *arguments: str, item: Any = None) -> str:
        """Runs kubectl as this person."""
        stdin = None if item is None else json.dumps(item)
        identity = f"--as={self.namespace}-tenant", f"--namespace={self.namespace}"
        return self.cluster.kubectl(*identity, *arguments, stdin=stdin)

    def create(self, item: Any) -> Any:
        """Creates an object without client-side validation; returns the stored object."""
        return json.loads(self.kubectl("create", "--validate=false", "--output=json", "--filename", "-", item=item))


@pytest.fixture(scope="module")
def tenant(cluster: Kubectl) -> Iterator[Tenant]:
    name = "attacked"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(EDIT))
    binding = "rolebinding", "tenant", "--clusterrole=edit", f"--user={name}-tenant", f"--namespace={name}"
    cluster.kubectl("create", *binding)
    tenant = Tenant(cluster, name)
    # A controller aggregates the role some time after its parts were created.
    asyncio.run(until(lambda: _may_work(tenant)))
    tenant.kubectl("create", "configmap", "photos")
    yield tenant
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    cluster.kubectl("delete", "clusterrole", EDIT["metadata"]["name"])  # type: ignore[index]


def _may_work(tenant: Tenant) -> bool:
    try:
        tenant.kubectl("get", "dreamboothjobs,configmaps,jobs")
    except AssertionError:
        return False
    return True


@pytest.fixture
def clean(tenant: Tenant) -> Iterator[None]:
    yield
    tenant.kubectl(
        "delete", "dreamboothjobs,dreamboothscenes,jobs,pods,services,pvc", "--all", "--grace-period=0", "--force"
    )
    tenant.kubectl("delete", "configmap", "dog-config", "--ignore-not-found")


def attacking(path: str, value: Any) -> dict[str, Any]:
    """A valid manifest except for one field."""
    job = applied_job("attacked")
    *parents, name = path.split(".")
    place = job
    for parent in parents:
        place = place.setdefault(parent, {})
    if isinstance(value, dict) and isinstance(place.get(name), dict):
        value = {**place[name], **value}
    place[name] = value
    return job


def decision(kubeconfig: Path, job: Object, *, runtimes: tuple[Object, ...] = (), others: int = 0) -> Plan:
    """The plan for a DreamBoothJob in this namespace."""

    async def decide() -> Plan:
        client = await Cluster.connect()
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        jobs, _ = await client.list("Job", namespace, f"{LABEL_JOB}={name}")
        pods, _ = await client.list("Pod", namespace, f"{LABEL_JOB}={name}")
        assert len(jobs) + len(pods) == others
        now = datetime.now(UTC)
        seen = Observed(owner=job, jobs=jobs, pods=pods, runtimes=runtimes)
        found = {one: await client.get(one.kind, namespace, one.name) for one in references(seen, now, SETTINGS)}
        await client.close()
        return reconcile(Observed(owner=job, jobs=jobs, pods=pods, runtimes=runtimes, referenced=found), now, SETTINGS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        return asyncio.run(decide())


def given_settings(plan: Plan) -> Any:
    """The settings of the trainer."""
    (given,) = (item for item in plan.apply if item["kind"] == "ConfigMap")
    return json.loads(given["data"]["train.json"])


def without_uid(item: Any, uid: str) -> Any:
    return json.loads(json.dumps(item).replace(uid, "UID"))


def made_for(plan: Plan, job: Object) -> Any:
    """The created objects without names and UIDs."""
    return without_uid([*plan.apply, *plan.create], job["metadata"]["uid"])


REFUSED: list[tuple[str, Any, str]] = [
    # Another namespace, or a path instead of a name.
    ("spec.volumes.output.claimName", "../other/claim", "should match"),
    ("spec.volumes.cache", {"claimName": "other/claim"}, "should match"),
    ("spec.volumes.output.path", "/etc", "should match"),
    ("spec.volumes.output.create.storageClassName", "c" * 254, "Too long"),
    ("spec.subject.images", {"configMap": {"name": "kube-system/extension-apiserver-authentication"}}, "should match"),
    ("spec.subject.images", {"configMap": {"name": "photos", "namespace": None}, "path": "/etc"}, "pods can't see"),
    ("spec.prior.source", {"persistentVolumeClaim": {"claimName": "other/claim"}}, "should match"),
    ("spec.prior.source", {"path": "/var/run/secrets"}, "pods can't see"),
    ("spec.prior.source", {"hostPath": {"path": "/"}}, "exactly one of"),
    ("spec.model.source", "pvc://../claim/x", "pods see no other path"),
    ("spec.model.source", "/etc/passwd", "pods see no other path"),
    ("spec.model.source", "file:///etc/passwd", "pods see no other path"),
    ("spec.model.source", "pvc://claim\n/x", "pods see no other path"),
    ("spec.model.config", "pvc://a:b/../../x", "pods see no other path"),
    ("spec.evaluation.encoder", "/var/run/secrets", "pods see no other path"),
    ("spec.model", {"source": "hf://a/b", "tokenSecret": {"name": "../kube-system/token"}}, "should match"),
    ("spec.monitoring.wandb", {"project": "p", "mode": "online", "apiKeySecret": {"name": "../a"}}, "should match"),
    ("spec.output.upload", {"to": "s3://169.254.169.254@evil", "secret": {"name": "s"}}, "should match"),
    # Other resources than GPUs.
    ("spec.resources.gpuResourceName", "hugepages-2Mi", "should match"),
    ("spec.resources.gpuResourceName", "memory", "should match"),
    ("spec.resources.cpu", "-1", "should match"),
    ("spec.resources.nodes", 65, "less than or equal to 64"),
    # Text with a special meaning in some place.
    ("spec.image", "registry/x:1\n", "should match"),
    ("spec.image", "$(HF_TOKEN)", "should match"),
    ("spec.subject.identifier", "a b\nc", "should match"),
    ("spec.subject.class", "dog\n{identifier}", "should match"),
    ("metadata.name", "dog\ncat", "Invalid value"),
    ("metadata.name", "../dog", "Invalid value"),
    ("metadata.labels", {"a": "b\nc"}, "Invalid value"),
    # Amounts.
    ("spec.retries", 101, "less than or equal to 100"),
    ("spec.retries", -1, "greater than or equal to 0"),
    ("spec.ttlSecondsAfterFinished", -1, "greater than or equal to 0"),
    ("spec.activeDeadlineSeconds", 0, "greater than or equal to 1"),
    ("spec.prior.images", 10**9, "less than or equal to 10000"),
    ("spec.samples.prompts", ["a {identifier} {class}"] * 100_000, "must have at most"),
    ("spec.subject.prompt", "{identifier} {class}" + "x" * 1_000_000, "may not be more than 500"),
    ("spec.scheduling.nodeSelector", {f"label-{number}": "" for number in range(1000)}, "must have at most 20"),
    ("spec.scheduling.tolerations", [{"operator": "Exists"}] * 1000, "must have at most 20"),
    ("metadata.annotations", {"bomb": "x" * 300_000}, "may not be more than 262144 bytes"),
    ("metadata.annotations", {"bomb": "x" * 4_000_000}, "large"),
]


@pytest.mark.parametrize(
    ("path", "value", "words"), REFUSED, ids=[f"{number}-{path}" for number, (path, _, _) in enumerate(REFUSED)]
)
def test_refused_by_the_api_server(tenant: Tenant, path: str, value: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        tenant.create(attacking(path, value))


SMUGGLED: list[tuple[str, Any]] = [
    # Fields that a pod has, and a DreamBoothJob has not.
    ("spec.serviceAccountName", "default"),
    ("spec.automountServiceAccountToken", True),
    ("spec.hostNetwork", True),
    ("spec.securityContext", {"privileged": True, "runAsUser": 0}),
    ("spec.template", {"spec": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}}),
    ("spec.volumes.output.hostPath", {"path": "/"}),
    ("spec.volumes.extra", [{"hostPath": {"path": "/"}}]),
    ("spec.volumes.output.namespace", "kube-system"),
    ("spec.subject.images.configMap.namespace", "kube-system"),
    ("spec.scheduling.nodeName", "control-plane"),
    ("spec.scheduling.runtimeClassName", "none"),
    ("spec.resources.limits", {"cpu": "1000"}),
    ("spec.env", [{"name": "LD_PRELOAD", "value": "/output/evil.so"}]),
    ("spec.imagePullSecrets", [{"name": "another"}]),
    ("spec.initContainers", [{"name": "evil", "image": "evil"}]),
    # Metadata, none of which is copied.
    ("metadata.labels", {LABEL_QUEUE: "of-others", "kueue.x-k8s.io/priority-class": "high", LABEL_JOB: "cat"}),
    ("metadata.labels", {"dreambooth.io/runtime": "big", LABEL_ATTEMPT: "7", f"{LABEL_JOB}-uid": "uid"}),
    ("metadata.annotations", {"dreambooth.io/active-deadline-seconds": "99999999", "container.seccomp": "unconfined"}),
    ("metadata.finalizers", ["example.com/never"]),
    (
        "metadata.ownerReferences",
        [{"apiVersion": "v1", "kind": "Namespace", "name": "kube-system", "uid": "1", "controller": True}],
    ),
    ("status", {"phase": "Complete", "conditions": [], "runtime": "big", "gpuSeconds": 10**9}),
]


@pytest.mark.parametrize(
    ("path", "value"), SMUGGLED, ids=[f"{number}-{path}" for number, (path, _) in enumerate(SMUGGLED)]
)
@pytest.mark.usefixtures("clean")
def test_forged_fields_have_no_effect(tenant: Tenant, kubeconfig: Path, path: str, value: Any) -> None:
    ordinary = tenant.create(applied_job(tenant.namespace))
    expected = made_for(decision(kubeconfig, ordinary), ordinary)
    tenant.kubectl("delete", "dreamboothjob", "dog")
    taken = tenant.create(attacking(path, value))
    try:
        assert taken.get("status") == {"observedGeneration": -1}
        assert made_for(decision(kubeconfig, taken), taken) == expected
    finally:
        # One with an owner that does not exist is collected.
        with suppress(AssertionError):
            tenant.kubectl("patch", "dreamboothjob", "dog", "--type=merge", '--patch={"metadata":{"finalizers":null}}')


TEXTS = [
    '"], "env": [["name", "LD_PRELOAD"',
    "$(HF_TOKEN) $$(HOME) $HOME `id` $(id); rm -rf /",
    "--output /etc --port 1 \\n\\u0000",
    "*anchor &anchor !!python/object:os.system",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.usefixtures("clean")
def test_prompts_are_data(tenant: Tenant, kubeconfig: Path, text: str) -> None:
    ordinary = tenant.create(applied_job(tenant.namespace))
    expected = decision(kubeconfig, ordinary).create[-1]["spec"]["template"]["spec"]
    tenant.kubectl("delete", "dreamboothjob", "dog")
    job = applied_job(tenant.namespace)
    job["spec"]["samples"] = {"prompts": [f"a {{identifier}} {{class}} {text}"]}
    plan = decision(kubeconfig, tenant.create(job))
    assert plan.create[-1]["spec"]["template"]["spec"] == expected
    settings = given_settings(plan)
    assert settings["samples"]["prompts"] == job["spec"]["samples"]["prompts"]


@pytest.mark.parametrize("path", ["a/../../../etc", "..", "../../var/run", "$(HF_TOKEN)/x", "-rf", "a\nb"])
@pytest.mark.usefixtures("clean")
def test_paths_stay_inside_their_volumes(tenant: Tenant, kubeconfig: Path, path: str) -> None:
    job = applied_job(tenant.namespace)
    job["spec"] |= {
        "volumes": {"output": {"path": path}, "cache": {"claimName": "shelf", "path": path}},
        "model": {"source": f"pvc://shelf/{path.replace(chr(10), '')}"},
        "prior": {"source": {"persistentVolumeClaim": {"claimName": "shelf", "path": path}}},
    }
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    shelf = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shelf"}, "spec": claim}
    tenant.create(shelf)
    plan = decision(kubeconfig, tenant.create(job))
    spec = plan.create[-1]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    command = container["command"]
    output, cache = command[command.index("--output") + 1], command[command.index("--cache") + 1]
    settings = given_settings(plan)
    roots = [
        (output, "/output"),
        (cache, "/cache"),
        (settings["model"]["source"], "/input/claims/shelf"),
        (settings["prior"]["source"]["path"], "/input/claims/shelf"),
    ]
    for found, root in roots:
        assert found == root or found.startswith(f"{root}/")
        assert ".." not in found.split("/")
    assert not any("$(" in word.replace("$$", "") for word in command)
    assert {kind for volume in spec["volumes"] for kind in volume} == {
        "name",
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
    }
    assert not any("subPath" in mount for mount in container["volumeMounts"])
    # Kubernetes accepts it under the `restricted` Pod Security Standard.
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
    tenant.kubectl("create", "--dry-run=server", "--filename", "-", item=pod)


@pytest.mark.parametrize("path", ["a/../../../etc", "../../run/secrets", "$(HF_TOKEN)/x", "-rf"])
@pytest.mark.usefixtures("clean")
def test_models_of_a_scene_stay_inside_their_volumes(tenant: Tenant, kubeconfig: Path, path: str) -> None:
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    tenant.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "shelf"}, "spec": claim})
    source = f"pvc://shelf/{path}"
    spec = {
        "model": {"source": source, "config": source, "adapters": [{"source": source, "file": "a.safetensors"}]},
        "prompts": ["a dog"],
        "volumes": {"output": {"claimName": "shelf", "path": path}},
        "resources": {"gpusPerNode": 0},
    }
    metadata = {"name": "beach", "namespace": tenant.namespace}
    scene = {"apiVersion": API_VERSION, "kind": "DreamBoothScene", "metadata": metadata, "spec": spec}
    plan = decision(kubeconfig, tenant.create(scene))
    (given,) = (item for item in plan.apply if item["kind"] == "ConfigMap")
    model = json.loads(given["data"]["scene.json"])["model"]
    for found in (model["source"], model["config"], model["adapters"][0]["source"]):
        assert found.startswith("/input/claims/shelf/")
        assert ".." not in found.split("/")
    pod = plan.create[-1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    written = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert written == {"/output", "/tmp", "/dev/shm"}
    assert not any("$(" in word.replace("$$", "") for word in container["command"])
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
    tenant.kubectl("create", "--dry-run=server", "--filename", "-", item=item)


BEYOND: list[tuple[str, Any, str]] = [
    ("spec.image", "registry.good.evil.com/x:1", "spec.image"),
    ("spec.image", "registry.good/../evil:1", "spec.image"),
    ("spec.image", "evil/x:1", "spec.image"),
    (
        "spec.subject.images",
        {"configMap": None, "image": {"reference": "registry.of/others:1"}},
        "images.image.reference",
    ),
    ("spec.prior", {"source": {"image": {"reference": "registry.of/others:1"}}}, "spec.prior.source.image.reference"),
    ("spec.model", {"source": "hf://a/b", "tokenSecret": {"name": "hub2"}}, "spec.model.tokenSecret.name"),
    ("spec.model", {"source": "hf://a/b", "tokenSecret": {"name": "db", "key": "token"}}, "tokenSecretNames"),
    (
        "spec.monitoring",
        {"wandb": {"project": "p", "mode": "online", "apiKeySecret": {"name": "db"}}},
        "spec.monitoring.wandb.apiKeySecret.name",
    ),
    ("spec.output", {"upload": {"to": "s3://of-others/x", "secret": {"name": "hub"}}}, "spec.output.upload.to"),
    ("spec.output", {"upload": {"to": "s3://team/x", "secret": {"name": "db"}}}, "spec.output.upload.secret.name"),
    ("spec.scheduling", {"tolerations": [{"operator": "Exists"}]}, "spec.scheduling.tolerations[0]"),
    ("spec.scheduling", {"nodeSelector": {"pool": "large"}}, "spec.scheduling.nodeSelector.pool"),
    ("spec.scheduling", {"priorityClassName": "system-cluster-critical"}, "spec.scheduling.priorityClassName"),
    ("spec.scheduling", {"queueName": "of-others"}, "spec.scheduling.queueName"),
    ("spec.scheduling", {"workloadPriorityClassName": "urgent"}, "spec.scheduling.workloadPriorityClassName"),
    ("spec.training", {"steps": 100_000}, "spec.training.steps"),
    ("spec.resources", {"nodes": 2}, "spec.resources.nodes"),
    ("spec.resources", {"gpusPerNode": 16}, "spec.resources.gpusPerNode"),
    ("spec.activeDeadlineSeconds", 31_536_000, "spec.activeDeadlineSeconds"),
]


@pytest.mark.parametrize(
    ("path", "value", "field"), BEYOND, ids=[f"{number}-{field}" for number, (_, _, field) in enumerate(BEYOND)]
)
@pytest.mark.usefixtures("clean")
def test_nothing_is_created_beyond_the_limits_of_the_runtime(
    tenant: Tenant, kubeconfig: Path, path: str, value: Any, field: str
) -> None:
    tenant.cluster.kubectl(
        "create", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=json.dumps(RUNTIME)
    )
    taken = tenant.create(attacking(path, value))
    plan = decision(kubeconfig, taken, runtimes=(RUNTIME,))
    assert (plan.status["phase"], [*plan.apply, *plan.create]) == ("Failed", [])
    assert field in plan.status["message"]


DATABASE = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": {"password": "p"}}


@pytest.mark.parametrize("runtimes", [(), (RUNTIME,)], ids=["without a runtime", "with a runtime"])
@pytest.mark.usefixtures("clean")
def test_no_secret_of_the_namespace_reaches_a_pod(
    tenant: Tenant, kubeconfig: Path, runtimes: tuple[Object, ...]
) -> None:
    """A trainer would send it to the hub, and a tenant's own image could print it."""
    tenant.cluster.kubectl("apply", f"--namespace={tenant.namespace}", "--filename", "-", stdin=json.dumps(DATABASE))
    secret = {"name": "database", "key": "password"}
    taken = tenant.create(attacking("spec.model", {"source": "hf://a/b", "tokenSecret": secret}))
    plan = decision(kubeconfig, taken, runtimes=runtimes)
    assert (plan.status["phase"], [*plan.apply, *plan.create]) == ("Failed", [])
    assert "spec.model.tokenSecret.name: 'database' is not among the Secrets" in plan.status["message"]


@pytest.mark.usefixtures("clean")
def test_no_name_of_a_runtime_bypasses_the_default(tenant: Tenant, kubeconfig: Path) -> None:
    taken = tenant.create(attacking("spec.runtime", "none"))
    plan = decision(kubeconfig, taken, runtimes=(RUNTIME,))
    assert (plan.status["phase"], [*plan.apply, *plan.create]) == ("Pending", [])


FORBIDDEN: dict[str, tuple[str, ...]] = {
    "status": ("patch", "dreamboothjob", "dog", "--subresource=status", "--type=merge", '--patch={"status":{}}'),
    "another namespace": ("get", "dreamboothjobs", "--namespace=default"),
    "all namespaces": ("get", "dreamboothjobs", "--all-namespaces"),
    "runtimes": ("delete", "dreamboothruntime", "small"),
    "own labels of the namespace": ("label", "namespace", "attacked", "team=another"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.usefixtures("clean")
def test_forbidden_to_tenants(tenant: Tenant, name: str) -> None:
    tenant.create(applied_job(tenant.namespace))
    with pytest.raises(AssertionError, match="Forbidden"):
        tenant.kubectl(*FORBIDDEN[name])


def test_a_tenant_can_not_create_a_runtime(tenant: Tenant) -> None:
    with pytest.raises(AssertionError, match="Forbidden"):
        tenant.create(RUNTIME)


@pytest.mark.usefixtures("clean")
def test_validated_fields_are_immutable(tenant: Tenant) -> None:
    tenant.create(applied_job(tenant.namespace))
    for spec in (
        {"runtime": "big"},
        {"image": "evil:1"},
        {"scheduling": {"queueName": "x"}},
        {"scheduling": {"priorityClassName": "x"}},
        {"scheduling": {"workloadPriorityClassName": "x"}},
        {"training": {"steps": 9}},
    ):
        with pytest.raises(AssertionError, match=r"can't be changed|can only be changed while suspend is true"):
            tenant.kubectl("patch", "dreamboothjob", "dog", "--type=merge", f"--patch={json.dumps({'spec': spec})}")


@pytest.mark.usefixtures("clean")
def test_a_claim_of_another_namespace_is_not_found(tenant: Tenant, kubeconfig: Path) -> None:
    taken = tenant.create(attacking("spec.subject.images", {"configMap": {"name": "kube-root-ca.crt-of-others"}}))
    assert decision(kubeconfig, taken).status["message"].startswith("ConfigMap kube-root-ca.crt-of-others (")


POD_SPEC = {
    "restartPolicy": "Never",
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "evil",
            "image": "evil",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
LABELS = {LABEL_JOB: "dog", LABEL_ATTEMPT: "0"}
TAKEN: dict[str, tuple[dict[str, Any], int, str]] = {
    "config": ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dog-config"}}, 0, "NameTaken"),
    "service": (
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dog"}, "spec": {"clusterIP": "None"}},
        0,
        "NameTaken",
    ),
    "job": (
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "dog-0"},
            "spec": {"suspend": True, "template": {"spec": POD_SPEC}},
        },
        0,
        "NameTaken",
    ),
    "labelled job": (
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "dog-0", "labels": LABELS},
            "spec": {"suspend": True, "template": {"spec": POD_SPEC}},
        },
        1,
        "OrphanedObjects",
    ),
    "labelled pod": (
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dog-0-0", "labels": LABELS}, "spec": POD_SPEC},
        1,
        "WaitingForLeftovers",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.usefixtures("clean")
def test_conflicting_objects_of_a_tenant_are_neither_taken_over_nor_deleted(
    tenant: Tenant, kubeconfig: Path, name: str
) -> None:
    item, labelled, word = TAKEN[name]
    tenant.create(deepcopy(item))
    job = applied_job(tenant.namespace)
    job["spec"]["resources"]["nodes"] = 2
    plan = decision(kubeconfig, tenant.create(job), others=labelled)
    reasons = {one["type"]: one["reason"] for one in plan.status["conditions"]}
    assert reasons["Running"] == word
    assert [*plan.apply, *plan.create, *plan.delete] == []
