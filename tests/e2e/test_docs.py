"""The commands of the documentation for a cluster, as written, one after the other.

`REGISTRY` is where the nodes have the project's images; the tests' own cluster builds them from the Dockerfile's targets.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dreambooth_api.workload import API_VERSION
from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.docs.written import blocks, commands, is_of_cluster, run_in_shell
from tests.e2e.installation import NAMESPACE
from tests.e2e.tenant import Tenant
from tests.patience import PATIENCE

REGISTRY = "docker.io/library"
ENDLESS = "--watch"
"""Option of commands that run until they are interrupted."""
PROMETHEUS_OPERATOR = {"ServiceMonitor": "v1", "PodMonitor": "v1", "PrometheusRule": "v1"}
"""Kinds of the Prometheus Operator; the tests install CustomResourceDefinitions that accept any fields."""

Type = Callable[[str, Path], str]


@pytest.fixture
def type_(node: Cluster) -> Type:
    """Runs a command in a shell in a folder and returns its output."""
    folders = {str(Path(node.binary(name)).parent) for name in ("kubectl", "helm")} if node.binaries else set[str]()
    environment = {**os.environ, "KUBECONFIG": str(node.kubeconfig)}
    environment["PATH"] = os.pathsep.join((*folders, str(Path(sys.executable).parent), os.environ["PATH"]))

    def type_(command: str, folder: Path) -> str:
        command, accepted = command.replace("REGISTRY", REGISTRY), {0}
        if ENDLESS in command:
            command, accepted = f"timeout 5 {command}", {124}
        code, output = run_in_shell(command, folder, environment, seconds=1200)
        assert code in accepted, f"{command}\n{output}"
        return output

    return type_


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder with the files of the repository that the commands read; the reader's own files can be added."""
    for name in ("charts", "crds", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    yield tmp_path


@pytest.fixture
def monitoring_kinds(node: Cluster) -> Iterator[None]:
    """The kinds that docs/monitoring.md expects in the cluster."""
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definitions = [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{kind.lower()}s.monitoring.coreos.com"},
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": f"{kind.lower()}s", "singular": kind.lower()},
                "versions": [{"name": version, "served": True, "storage": True, "schema": anything}],
            },
        }
        for kind, version in PROMETHEUS_OPERATOR.items()
    ]
    made = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions})
    node.kubectl("apply", "--server-side", "--filename", "-", stdin=made)
    names = [f"{kind.lower()}s.monitoring.coreos.com" for kind in PROMETHEUS_OPERATOR]
    node.kubectl("wait", "--for=condition=Established", f"--timeout={PATIENCE}s", *(f"crd/{name}" for name in names))
    yield
    node.kubectl("delete", "crd", *names)


def of_cluster(page: str) -> list[str]:
    return [command for command in commands(Path(page)) if is_of_cluster(command)]


def test_the_readme_from_install_to_the_trained_model_and_its_scene(
    uninstalled: Tenant, named_by_default: None, type_: Type, checkout: Path
) -> None:
    said = {command: type_(command, checkout) for command in of_cluster("README.md")}
    try:
        assert "condition met" in next(text for command, text in said.items() if command.startswith("kubectl wait"))
        explained = next(text for command, text in said.items() if command.startswith("kubectl explain"))
        assert "unconditionalShare" in explained
        assert "Complete" in type_("kubectl get dreamboothjobs", checkout)
        scene = next(block for block in blocks("yaml", Path("docs/scenes.md")) if "DreamBoothScene" in block.text)
        (checkout / "scene.yaml").write_text(scene.text)
        *_, waited, result = (type_(command, checkout) for command in of_cluster("docs/scenes.md"))
        assert "condition met" in waited
        assert json.loads(result)["pictures"] == 16
    finally:
        type_(
            "kubectl delete dreamboothjobs,dreamboothscenes,persistentvolumeclaims,configmaps --all --wait=false",
            checkout,
        )
        type_(f"helm uninstall dreambooth --namespace {NAMESPACE} --wait", checkout)


def test_the_commands_for_a_cluster(tenant: Tenant, editor: Path, type_: Type, checkout: Path) -> None:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": tenant.name}}
    resources = {"cpu": "500m", "memory": "4Gi", "sharedMemory": "64Mi"}
    runtime = {"apiVersion": API_VERSION, "kind": "DreamBoothRuntime", "metadata": {"name": tenant.name}}
    spec = {"default": True, "namespaceSelector": selector, "resources": resources}
    tenant.kubectl("create", "--filename=-", stdin=json.dumps({**runtime, "spec": spec}))
    (checkout / "photos").symlink_to(ROOT / "examples" / "dog" / "photos")
    try:
        said = [type_(f"export KUBECONFIG={editor}; {command}", checkout) for command in of_cluster("docs/commands.md")]
    finally:
        tenant.kubectl("delete", "dreamboothruntime", tenant.name)
    _, watched, _, generated, _ = said
    assert "rex is complete" in watched
    assert len([line for line in generated.splitlines() if line.endswith(".png")]) == 5
    assert {"report.html", "COMPLETE", "scenes"} <= {path.name for path in (checkout / "runs" / "rex").iterdir()}


def test_installing_from_the_first_command_to_the_last(
    uninstalled: Tenant, named_by_default: None, monitoring_kinds: None, type_: Type, checkout: Path
) -> None:
    values = next(block for block in blocks("yaml", Path("docs/install.md")) if "# values.yaml" in block.text)
    (checkout / "values.yaml").write_text(values.text.replace("REGISTRY", REGISTRY))
    type_(f"kubectl delete namespace {NAMESPACE} --ignore-not-found", checkout)
    first, *rest = of_cluster("docs/install.md")
    assert first.startswith("kubectl create namespace")
    type_(first, checkout)
    upgrades = next(number for number, command in enumerate(rest) if command.startswith("helm upgrade"))
    for command in (*rest[:upgrades], *of_cluster("docs/monitoring.md"), *rest[upgrades:]):
        type_(command, checkout)
