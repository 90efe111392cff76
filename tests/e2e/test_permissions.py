"""Runs after all other tests with containers: the operator used exactly the permissions of the chart."""

import asyncio
from pathlib import Path

import pytest

from dreambooth_operator.kube.client import Cluster as Client
from dreambooth_operator.objects.names import status_manager
from tests.cluster.layout import AUDIT_LOG
from tests.conftest import Cluster
from tests.e2e.installation import NAMESPACE, RELEASE
from tests.e2e.tenant import Tenant
from tests.permissions import NEVER_REQUESTED, access_of, asked, granted, use_all_permissions


def test_every_permission_was_used_and_no_permission_was_missing(
    request: pytest.FixtureRequest, tenant: Tenant, node: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {item.path.name for item in request.session.items}
    if left_out := {path.name for path in Path(__file__).parent.glob("test_*.py")} - run:
        pytest.skip(f"what is used shows only after {', '.join(sorted(left_out))}")
    if not AUDIT_LOG.exists():
        pytest.skip("only the test cluster has an audit log")
    monkeypatch.setenv("KUBECONFIG", str(node.kubeconfig))
    asyncio.run(_live(node, tenant.name))
    permissions = granted(access_of(node, RELEASE, NAMESPACE))
    used, forbidden = asked(AUDIT_LOG, f"system:serviceaccount:{NAMESPACE}:{RELEASE}")
    # Requests of pods that still run after their roles were uninstalled are forbidden.
    assert forbidden <= permissions
    assert not [one for one in permissions if "*" in "".join(one)]
    assert not [one for one in permissions | used if one.resource.startswith("secrets")]
    assert permissions - used == NEVER_REQUESTED, "they are unused"


async def _live(node: Cluster, namespace: str) -> None:
    """Permissions that no other test uses."""
    client = await Client.connect()
    try:
        await use_all_permissions(client, node, namespace, status_manager(NAMESPACE, RELEASE))
    finally:
        await client.close()
