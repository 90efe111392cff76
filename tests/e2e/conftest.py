"""The operator in the test cluster, and namespaces that enforce the `restricted` Pod Security Standard."""

import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.cluster.layout import CTR, ROOT
from tests.conftest import Cluster
from tests.e2e.installation import CHART, NAMESPACE, RELEASE, install, restrict, uninstall
from tests.e2e.tenant import Tenant
from tests.patience import PATIENCE

CRDS = ROOT / "crds"
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]


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


@pytest.fixture
def editor(tenant: Tenant, tmp_path: Path) -> Path:
    """The kubeconfig of a user with the role `edit`, whose context names the namespace."""
    tenant.kubectl("create", "serviceaccount", "ann")
    tenant.kubectl("create", "rolebinding", "ann", "--clusterrole=edit", f"--serviceaccount={tenant.name}:ann")
    document = yaml.safe_load(tenant.cluster.kubeconfig.read_text())
    (context,) = document["contexts"]
    context["context"] |= {"namespace": tenant.name, "user": "ann"}
    document["users"] = [{"name": "ann", "user": {"token": tenant.kubectl("create", "token", "ann").strip()}}]
    file = tmp_path / "kubeconfig"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(document))
    return file


@pytest.fixture
def named_by_default(node: Cluster, loaded: Mapping[str, str]) -> Iterator[None]:
    """The project's images under their names in the chart, which are in no registry of the tests."""
    if node.images:
        pytest.skip("only images of the test cluster may get other names")
    names = {f"docker.io/library/dreambooth-{target}:{VERSION}": image for target, image in loaded.items()}
    for name, image in names.items():
        subprocess.run([*CTR, "images", "tag", "--force", image, name], check=True, capture_output=True)
    yield
    subprocess.run([*CTR, "images", "rm", *names], check=True, capture_output=True)


@pytest.fixture
def uninstalled(tenant: Tenant, node: Cluster, loaded: Mapping[str, str]) -> Iterator[Tenant]:
    """A tenant of a cluster without operator and CustomResourceDefinitions; those of the other tests are restored afterwards."""
    node.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    node.kubectl("delete", "--filename", CRDS, f"--timeout={PATIENCE}s")
    yield tenant
    node.kubectl("apply", "--server-side", "--force-conflicts", "--filename", CRDS)
    install(node, loaded)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the test of permissions last, because it evaluates the requests of all other tests."""
    items.sort(key=lambda item: item.path.name == "test_permissions.py" and item.path.parent.name == "e2e")
