"""The ValidatingAdmissionPolicy for the operator's own writes, in a real API server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.workload import API_VERSION
from dreambooth_operator.objects.names import LABEL_JOB
from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.permissions import admission_policies, kubeconfig_of

DENIED = "whose controller is a DreamBoothJob"
OWNER = {"apiVersion": API_VERSION, "kind": "DreamBoothJob", "name": "dog", "uid": "1", "controller": True}
SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "ConfigMap": ("v1", {}),
    "Service": ("v1", {"spec": {"clusterIP": "None"}}),
    "PersistentVolumeClaim": (
        "v1",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ),
    "NetworkPolicy": ("networking.k8s.io/v1", {"spec": {"podSelector": {}}}),
    "Job": (
        "batch/v1",
        {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a"}], "restartPolicy": "Never"}}}},
    ),
}
CREATED_BY_PATCHES = "ConfigMap", "Service", "NetworkPolicy"


@pytest.fixture
def release(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of the operator's ServiceAccount, and the policy."""
    with admission_policies(cluster, f"writes-{namespace}", namespace, "ownWrites.restricted=true"):
        yield kubeconfig_of(cluster, f"writes-{namespace}", namespace, tmp_path)


def manifest(kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    api_version, more = SPECS[kind]
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}, **more}


def test_the_operator_writes_only_what_belongs_to_a_dreamboothjob(
    cluster: Cluster, namespace: str, release: Path
) -> None:
    here = f"--namespace={namespace}"
    of_the_operator = cluster._replace(kubeconfig=release)

    def denied(*arguments: str, item: dict[str, Any] | None = None) -> bool:
        try:
            of_the_operator.kubectl(*arguments, here, stdin=json.dumps(item) if item else None)
        except AssertionError as error:
            assert DENIED in str(error), error
            return True
        return False

    def create(item: dict[str, Any]) -> bool:
        if item["kind"] in CREATED_BY_PATCHES:
            apply = "apply", "--server-side", "--dry-run=server", "--filename=-"
            return not denied(*apply, item=item)
        return not denied("create", "--validate=false", "--dry-run=server", "--filename=-", item=item)

    async def test() -> None:
        await until(lambda: not create(manifest("ConfigMap", "other")))
        for kind in SPECS:
            assert create(manifest(kind, "own", ownerReferences=[OWNER])), kind
            assert not create(manifest(kind, "other")), kind
            assert not create(manifest(kind, "other", ownerReferences=[OWNER | {"controller": False}])), kind
            assert not create(manifest(kind, "other", ownerReferences=[OWNER | {"kind": "Cat"}])), kind
            other_group = OWNER | {"apiVersion": "example.com/v1"}
            assert not create(manifest(kind, "other", ownerReferences=[other_group])), kind
            assert create(manifest(kind, "kept", labels={LABEL_JOB: "dog"})) == (kind == "PersistentVolumeClaim"), kind
        for kind in ("ConfigMap", "Job"):
            cluster.kubectl("create", "--filename=-", here, stdin=json.dumps(manifest(kind, "of-a-tenant")))
        assert denied("delete", "--dry-run=server", "job", "of-a-tenant")
        changed = manifest("ConfigMap", "of-a-tenant", labels={"a": "b"})
        assert denied("apply", "--server-side", "--dry-run=server", "--filename=-", item=changed)
        await works(cluster, namespace, release)

    asyncio.run(test())


async def works(cluster: Cluster, namespace: str, release: Path) -> None:
    """A DreamBoothJob starts, is suspended, and starts again: the operator creates, applies and deletes objects."""
    here = f"--namespace={namespace}"

    def job_names() -> list[str]:
        return [item["metadata"]["name"] for item in cluster.items("jobs", here)]

    def suspend(value: bool) -> None:
        cluster.kubectl("patch", "dbj/dog", here, "--type=merge", f"--patch={json.dumps({'spec': {'suspend': value}})}")

    cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", here)
    async with operator(release, namespace, lease_name=f"writes-{namespace}") as running:
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(applied_job(namespace)))
        await until(_has(job_names, "dog-0"))
        suspend(True)
        await until(lambda: not [name for name in job_names() if name.startswith("dog-")])
        suspend(False)
        await until(_has(job_names, "dog-"))
        assert not [line for line in running.lines if DENIED in line]
    kinds = "configmaps", "networkpolicies", "persistentvolumeclaims"
    assert all(cluster.items(kind, here, f"--selector={LABEL_JOB}=dog") for kind in kinds)


def _has(names: Callable[[], list[str]], beginning: str) -> Callable[[], bool]:
    return lambda: any(name.startswith(beginning) for name in names())
