"""The operator, installed by its chart."""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import yaml

from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.patience import PATIENCE

CHART = ROOT / "charts" / "dreambooth-operator"
RELEASE = "dreambooth"
NAMESPACE = "dreambooth-system"
UNREACHABLE_REGISTRY = "registry.invalid"
"""A registry that is allowed but not reachable."""


def install(cluster: Cluster, images: Mapping[str, str], *arguments: str) -> None:
    """Installs or upgrades the operator.

    Args:
        cluster: where.
        images: image of each target of the Dockerfile.
        arguments: further ones for helm.
    """
    allowed = {"allowedImages": [f"{UNREACHABLE_REGISTRY}/*"], "tokenSecretNames": ["hub", "none"]}
    settings = {"pollSeconds": 0.5, "logFormat": "plain", **allowed}
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    ports = {443, urlsplit(server).port or 443}
    values: dict[str, object] = {"settings": settings, "networkPolicies": {"apiServerPorts": sorted(ports)}}
    for key, target in {"image": "operator", "trainerImage": "trainer"}.items():
        repository, _, tag = images[target].rpartition(":")
        values[key] = {"repository": repository, "tag": tag}
    cluster.helm(
        *("upgrade", "--install", RELEASE, CHART),
        *("--namespace", NAMESPACE, "--create-namespace", "--values", "-"),
        # They have been applied separately.
        *("--set", "crds.enabled=false", "--wait", "--timeout", f"{PATIENCE}s", *arguments),
        stdin=json.dumps(values),
    )
    restrict(cluster, NAMESPACE)


def uninstall(cluster: Cluster) -> None:
    """Uninstalls the operator."""
    cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    cluster.kubectl("delete", "namespace", NAMESPACE)


def restrict(cluster: Cluster, namespace: str) -> None:
    """Enforces the `restricted` Pod Security Standard in a namespace."""
    cluster.kubectl("label", "--overwrite", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
