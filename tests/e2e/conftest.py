"""The operator, installed by its chart into the test cluster, and tenants' namespaces that enforce the restricted level."""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.e2e.tenant import Tenant

RELEASE = "dreambooth"
OPERATOR_NAMESPACE = "dreambooth-system"


@pytest.fixture(scope="session")
def operator(node: Cluster, loaded: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The operator, installed once; the name of its namespace."""
    values = tmp_path_factory.mktemp("helm") / "values.yaml"
    values.write_text(helm_values(loaded))
    node.helm(
        *("upgrade", "--install", RELEASE, ROOT / "charts" / "dreambooth-operator"),
        *("--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--values", values),
        # The custom resource definitions are there already, applied by hand.
        *("--set", "crds.install=false", "--wait", "--timeout", "3m"),
    )
    restrict(node, OPERATOR_NAMESPACE)
    yield OPERATOR_NAMESPACE
    node.helm("uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait")
    node.kubectl("delete", "namespace", OPERATOR_NAMESPACE)


@pytest.fixture
def tenant(node: Cluster, operator: str) -> Iterator[Tenant]:
    """A namespace of its own, with photos of the example dog in a ConfigMap."""
    name = f"tenant-{uuid.uuid4().hex[:6]}"
    node.kubectl("create", "namespace", name)
    restrict(node, name)
    tenant = Tenant(node, name)
    tenant.kubectl("create", "configmap", "photos", f"--from-file={ROOT / 'examples' / 'dog' / 'photos'}")
    yield tenant
    node.kubectl("delete", "namespace", name, "--timeout=120s")


def restrict(node: Cluster, namespace: str) -> None:
    """Lets a namespace run only pods of the restricted level."""
    node.kubectl("label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")


def helm_values(images: Mapping[str, str]) -> str:
    """Values that name images by what they are made of."""
    lines = []
    for key, target in {"image": "operator", "trainerImage": "trainer"}.items():
        repository, _, tag = images[target].rpartition(":")
        lines.append(f"{key}: {{repository: {repository}, tag: '{tag}'}}")
    lines.append("settings: {pollSeconds: 0.5, logLevel: INFO}")
    return "\n".join(lines)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for what is copied out of the cluster."""
    return tmp_path
