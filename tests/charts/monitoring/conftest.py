"""A namespace of a tenant without running pods."""

import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import Cluster
from tests.e2e.tenant import Tenant


@pytest.fixture
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    """A namespace with the ConfigMap for photos; it needs no image, because no container runs in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    tenant = Tenant(cluster, name, image="")
    tenant.kubectl("create", "configmap", "photos")
    yield tenant
    cluster.kubectl("delete", "namespace", name, "--wait=false")
