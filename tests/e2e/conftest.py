"""The operator in the test cluster, and namespaces that enforce the `restricted` Pod Security Standard."""

import uuid
from collections.abc import Iterator, Mapping

import pytest

from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.e2e.installation import NAMESPACE, install, restrict, uninstall
from tests.e2e.tenant import Tenant


@pytest.fixture(scope="session")
def operator(node: Cluster, loaded: Mapping[str, str]) -> Iterator[str]:
    """The operator, installed once; the name of its namespace."""
    install(node, loaded)
    yield NAMESPACE
    uninstall(node)


@pytest.fixture
def tenant(node: Cluster, operator: str, loaded: Mapping[str, str]) -> Iterator[Tenant]:
    """A namespace of its own, with photos of the example dog in a ConfigMap."""
    name = f"tenant-{uuid.uuid4().hex[:6]}"
    node.kubectl("create", "namespace", name)
    restrict(node, name)
    tenant = Tenant(node, name, loaded["operator"])
    tenant.kubectl("create", "configmap", "photos", f"--from-file={ROOT / 'examples' / 'dog' / 'photos'}")
    yield tenant
    node.kubectl("delete", "namespace", name, "--wait=false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the test of permissions last, because it evaluates the requests of all other tests."""
    items.sort(key=lambda item: item.path.name == "test_permissions.py" and item.path.parent.name == "e2e")
