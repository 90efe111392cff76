"""The permissions of the operator in its chart and its requests in the API server's audit log, for tests that compare them."""

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dreambooth_api.workload import API_VERSION
from dreambooth_operator.kube.client import Cluster as Client
from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until

CHART = ROOT / "charts" / "dreambooth-operator"
Check = Callable[[], Awaitable[Any]]
POLICY = "ValidatingAdmissionPolicy"
KINDS = "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"


class Permission(NamedTuple):
    """One verb on one resource."""

    group: str
    resource: str
    """Plural, with its subresource: `dreamboothjobs/status`."""
    verb: str


NEVER_REQUESTED = {
    Permission("dreambooth.io", "dreamboothjobs/finalizers", "update"),
    Permission("dreambooth.io", "dreamboothscenes/finalizers", "update"),
    Permission("", "configmaps", "create"),
    Permission("", "services", "create"),
    Permission("networking.k8s.io", "networkpolicies", "create"),
}
"""Permissions without requests of their own, which the API server checks with other requests.

A server-side apply, which is a patch, needs the permission to create if the object is missing. An owner reference with
`blockOwnerDeletion` needs the permission to change the owner's finalizers if the admission plugin
OwnerReferencesPermissionEnforcement is enabled, as in the test cluster.
"""


def access_of(cluster: Cluster, release: str, namespace: str, *values: str) -> list[dict[str, Any]]:
    """The objects of the chart that give the operator its permissions; the roles for people are not among them."""
    options = [word for value in values for word in ("--set", value)]
    text = cluster.helm("template", release, CHART, "--namespace", namespace, *options)
    documents = [document for document in yaml.safe_load_all(text) if document and document["kind"] in KINDS]
    bindings = [one for one in documents if "roleRef" in one and _binds(one, namespace, release)]
    names = {name for one in bindings for name in (one["metadata"]["name"], one["roleRef"]["name"])}
    return [one for one in documents if one["metadata"]["name"] in {*names, release}]


@contextmanager
def admission_policies(cluster: Cluster, release: str, namespace: str, values: str) -> Iterator[None]:
    """Applies the permissions of a release that watches its own namespace, and the admission policies of some values."""
    options = "--set", f"namespaces={{{namespace}}},{values}"
    text = cluster.helm("template", release, CHART, "--namespace", namespace, *options)
    policies = [one for one in yaml.safe_load_all(text) if one and one["kind"].startswith(POLICY)]
    access = access_of(cluster, release, namespace, f"namespaces={{{namespace}}}")
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all([*access, *policies]))
    try:
        yield
    finally:
        cluster.kubectl("delete", "--filename=-", "--wait=false", stdin=yaml.safe_dump_all(policies))


def kubeconfig_of(cluster: Cluster, account: str, namespace: str, folder: Path) -> Path:
    """Writes a kubeconfig of a ServiceAccount."""
    token = cluster.kubectl("create", "token", account, f"--namespace={namespace}").strip()
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    path = folder / "operator.kubeconfig"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(document))
    return path


def granted(access: Iterable[Mapping[str, Any]]) -> set[Permission]:
    """The permissions of roles."""
    return {
        Permission(group, resource, verb)
        for role in access
        for rule in role.get("rules", ())
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }


def asked(log: Path, user: str) -> tuple[set[Permission], set[Permission]]:
    """The requests of a user, and those of them that no role allowed."""
    used, forbidden = set(), set()
    for line in log.read_text().splitlines():
        event = json.loads(line)
        target = event.get("objectRef")
        if event["user"]["username"] != user or not target:
            continue
        resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
        permission = Permission(target.get("apiGroup", ""), resource, event["verb"])
        used.add(permission)
        # Admission also forbids creations in a namespace that is being deleted.
        if event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid":
            forbidden.add(permission)
    return used, forbidden


def _binds(binding: Mapping[str, Any], namespace: str, account: str) -> bool:
    return any(one["name"] == account and one.get("namespace") == namespace for one in binding["subjects"])


def job(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    item = applied_job(namespace, name)
    item["spec"] |= spec
    return item


def scene(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    given = {"jobName": "done", "prompts": ["a {identifier} {class}"], "resources": {"gpusPerNode": 0}, **spec}
    return {
        "apiVersion": API_VERSION,
        "kind": "DreamBoothScene",
        "metadata": {"name": name, "namespace": namespace},
        "spec": given,
    }


async def complete_job(admin: Client, cluster: Cluster, namespace: str) -> None:
    """Creates a DreamBoothJob whose status says that it is complete, and its claim."""
    await admin.create(job(namespace, "done", suspend=True))
    await until(phase(admin, namespace, "done", "Suspended"))
    write_completion(cluster, namespace, "done")


def write_completion(cluster: Cluster, namespace: str, name: str) -> None:
    """Writes a status as if a suspended DreamBoothJob was complete, and creates its claim."""
    met = {"type": "Complete", "status": "True", "reason": "Complete", "message": "", "observedGeneration": 1}
    status = {"phase": "Complete", "conditions": [{**met, "lastTransitionTime": "2026-01-02T03:04:05Z"}]}
    patch(cluster, namespace, f"dbj/{name}", {"status": status}, "--subresource=status")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim}
    kubectl(cluster, namespace, "apply", volume)


async def use_all_permissions(admin: Client, cluster: Cluster, namespace: str, manager: str) -> None:
    """Makes an operator use all its permissions: two pods without a node, one that seems to wait for its volumes, two
    suspensions, and a DreamBoothJob and a DreamBoothScene that violate a runtime of this namespace and have expired.

    Args:
        admin: a client of an administrator.
        cluster: the cluster, in which there may be other operators.
        namespace: of the DreamBoothJobs.
        manager: the field manager of the operator's statuses.
    """
    model = {"source": "hf://studio/tiny", "tokenSecret": {"name": "hub", "key": "token"}}
    nowhere = {"nodeSelector": {"no-such-label": "anywhere"}}
    spec = job(namespace, "dog", model=model, resources={"gpusPerNode": 0, "nodes": 2}, scheduling=nowhere)
    await admin.create(spec)
    await until(phase(admin, namespace, "dog", "Starting", "Pending"))
    await until(pods(admin, namespace, "dog-0"))
    await until(lambda: stuck(admin, cluster, namespace))
    for _ in range(2):
        patch(cluster, namespace, "dbj/dog", {"spec": {"suspend": True}})
        await until(phase(admin, namespace, "dog", "Suspended"))
        patch(cluster, namespace, "dbj/dog", {"spec": {"suspend": False}})
        await until(phase(admin, namespace, "dog", "Starting", "Pending"))
    await complete_job(admin, cluster, namespace)
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    runtime = _named("DreamBoothRuntime", namespace) | {
        "spec": {"namespaceSelector": selector, "limits": {"steps": 1, "pictures": 1}}
    }
    kubectl(cluster, namespace, "apply", {"apiVersion": API_VERSION, **runtime})
    try:
        await until(lambda: judged(admin, cluster, namespace, manager))
        await admin.create(job(namespace, "bad", runtime=namespace, ttlSecondsAfterFinished=1))
        await admin.create(scene(namespace, "bad", runtime=namespace, ttlSecondsAfterFinished=1))
        await until(gone(admin, namespace, "bad", "DreamBoothJob"))
        await until(gone(admin, namespace, "bad", "DreamBoothScene"))
    finally:
        cluster.kubectl("delete", "dreamboothruntime", namespace)
    kubectl(cluster, namespace, "delete", {"apiVersion": API_VERSION, **_named("DreamBoothJob", "dog")})


async def judged(admin: Client, cluster: Cluster, runtime: str, manager: str) -> bool:
    """Changes a runtime until one operator writes its status: each operator of the cluster may be the first to judge it."""
    found = await admin.get("DreamBoothRuntime", "", runtime)
    if manager in {entry["manager"] for entry in found["metadata"]["managedFields"]}:
        return True
    if found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]:
        limits = {"spec": {"limits": {"nodes": found["metadata"]["generation"]}}}
        cluster.kubectl("patch", "dreamboothruntime", runtime, "--type=merge", f"--patch={json.dumps(limits)}")
    return False


async def stuck(admin: Client, cluster: Cluster, namespace: str) -> bool:
    """Makes a pod look as if its node had been creating its container for a minute, until the operator reports it."""
    since = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": since}
    for pod in (await admin.list("Pod", namespace))[0]:
        name = pod["metadata"]["name"]
        status = {"status": {"startTime": since, "conditions": [scheduled]}}
        with suppress(AssertionError):
            patch(cluster, namespace, f"pod/{name}", status, "--subresource=status")
    found = await admin.get("DreamBoothJob", namespace, "dog")
    conditions = (found or {}).get("status", {}).get("conditions", ())
    return any(one["reason"] == "ContainerCreating" for one in conditions)


def phase(admin: Client, namespace: str, name: str, *phases: str) -> Check:
    async def check() -> bool:
        found = await admin.get("DreamBoothJob", namespace, name)
        return found is not None and found.get("status", {}).get("phase") in phases

    return check


def pods(admin: Client, namespace: str, of: str) -> Check:
    async def check() -> bool:
        items, _ = await admin.list("Pod", namespace, labels=f"batch.kubernetes.io/job-name={of}")
        return len(items) == 2

    return check


def gone(admin: Client, namespace: str, name: str, kind: str) -> Check:
    async def check() -> bool:
        return await admin.get(kind, namespace, name) is None

    return check


def kubectl(cluster: Cluster, namespace: str, verb: str, item: dict[str, Any]) -> None:
    cluster.kubectl(verb, "--namespace", namespace, "--filename", "-", stdin=json.dumps(item))


def patch(cluster: Cluster, namespace: str, what: str, change: dict[str, Any], *more: str) -> None:
    cluster.kubectl("patch", what, "--namespace", namespace, "--type=merge", f"--patch={json.dumps(change)}", *more)


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}}
