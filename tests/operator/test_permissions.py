"""An operator with exactly the permissions of the chart: none is missing, and none is unused."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.objects.names import status_manager
from tests.cluster.layout import AUDIT_LOG
from tests.conftest import Cluster as SharedCluster
from tests.operator.clusters import until
from tests.operator.operators import Operator, operator
from tests.patience import PATIENCE
from tests.permissions import (
    NEVER_REQUESTED,
    Check,
    Permission,
    access_of,
    asked,
    complete_job,
    granted,
    job,
    kubeconfig_of,
    kubectl,
    scene,
    use_all_permissions,
)

RELEASE = "dreambooth"
CANARY = f"hf_{secrets.token_hex(16)}"
"""A canary token that must not leak."""


@pytest.fixture
def access(cluster: SharedCluster, namespace: str) -> list[dict[str, Any]]:
    return access_of(cluster, RELEASE, namespace, f"namespaces={{{namespace}}}")


@pytest.fixture
def restricted(cluster: SharedCluster, namespace: str, access: list[dict[str, Any]], tmp_path: Path) -> Path:
    """A kubeconfig of the operator's ServiceAccount."""
    cluster.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(access))
    return kubeconfig_of(cluster, RELEASE, namespace, tmp_path)


def test_no_rule_has_a_wildcard_or_reads_secrets(access: list[dict[str, Any]]) -> None:
    permissions = granted(access)
    assert permissions
    assert not [one for one in permissions if "*" in "".join(one)]
    assert not [one for one in permissions if one.resource.startswith("secrets")]


def test_the_permissions_are_exactly_the_used_ones_and_no_token_is_logged(
    cluster: SharedCluster, namespace: str, access: list[dict[str, Any]], restricted: Path
) -> None:
    if not AUDIT_LOG.exists():
        pytest.skip("only the test cluster has an audit log")
    user = f"system:serviceaccount:{namespace}:{RELEASE}"
    seen: list[str] = []

    async def test() -> None:
        admin = await Cluster.connect()
        token = {"stringData": {"token": CANARY}, "metadata": {"name": "hub"}}
        kubectl(cluster, namespace, "apply", {"apiVersion": "v1", "kind": "Secret", **token})
        kubectl(cluster, namespace, "apply", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "photos"}})
        async with operator(
            restricted, namespace, lease_name=RELEASE, log_level="DEBUG", token_secret_names="hub"
        ) as one:
            await use_all_permissions(admin, cluster, namespace, status_manager(namespace, RELEASE))
            _, metrics = await one.get("/metrics")
            seen.extend([*one.lines, metrics, *leftovers_of(cluster, namespace)])
            await no_complaint(one)
        await admin.close()

    asyncio.run(test())
    # A watch is logged when the API server notices that its client is gone.
    deadline = time.monotonic() + PATIENCE
    used, forbidden = asked(AUDIT_LOG, user)
    while granted(access) - used != NEVER_REQUESTED and time.monotonic() < deadline:
        time.sleep(0.5)
        used, forbidden = asked(AUDIT_LOG, user)
    assert not forbidden
    assert granted(access) - used == NEVER_REQUESTED, "they are unused"
    assert not [one for one in used if one.resource.startswith("secrets")]
    assert seen and not [line for line in seen if CANARY in line]


def leftovers_of(cluster: SharedCluster, namespace: str) -> list[str]:
    """Everything of the namespace but the Secret itself."""
    kinds = "dreamboothjobs,dreamboothscenes,jobs,pods,configmaps,services,persistentvolumeclaims,events"
    return [cluster.kubectl("get", kinds, "--namespace", namespace, "--output=json")]


async def no_complaint(one: Operator) -> None:
    assert not [line for line in one.lines if "forbidden" in line.lower()]


@pytest.mark.parametrize("missing", sorted(NEVER_REQUESTED), ids=lambda one: f"{one.verb} {one.resource}")
def test_permissions_without_requests_are_required(
    cluster: SharedCluster, namespace: str, access: list[dict[str, Any]], restricted: Path, missing: Permission
) -> None:
    role = next(one for one in access if one["kind"] == "Role" and one["metadata"]["name"] == RELEASE)
    kept = [
        {"apiGroups": [one.group], "resources": [one.resource], "verbs": [one.verb]}
        for one in granted([role]) - {missing}
    ]
    cluster.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump({**role, "rules": kept}))

    async def test() -> None:
        admin = await Cluster.connect()
        kubectl(cluster, namespace, "apply", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "photos"}})
        async with operator(restricted, namespace, lease_name=RELEASE):
            if missing.resource.startswith("dreamboothscenes"):
                await complete_job(admin, cluster, namespace)
                await admin.create(scene(namespace, "dog"))
                await until(refused(admin, namespace, "DreamBoothScene"))
            else:
                await admin.create(job(namespace, "dog", resources={"gpusPerNode": 0, "nodes": 2}))
                await until(refused(admin, namespace, "DreamBoothJob"))
        await admin.close()

    asyncio.run(test())


def refused(admin: Cluster, namespace: str, kind: str) -> Check:
    async def check() -> bool:
        try:
            found = await admin.get(kind, namespace, "dog")
        except ClusterError:
            return False
        conditions = (found or {}).get("status", {}).get("conditions", ())
        return any(one["reason"] == "Refused" for one in conditions)

    return check
