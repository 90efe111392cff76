"""The commands of docs/install.md, as written, with each version of Helm, on a control plane whose nodes are pretended."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster import binaries
from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.docs.written import blocks, commands, run_in_shell
from tests.pretended_kubelet import pretended_kubelet

pytestmark = pytest.mark.slow

PAGE = Path("docs/install.md")
NAMESPACE = "dreambooth-system"
HELMS = {"helm3": "Helm 3", "helm": "Helm 4"}
"""The programs, and what the page calls them."""
ANOTHER_COLUMN = [{"name": "Other", "type": "string", "jsonPath": ".metadata.name"}]

Type = Callable[..., str]


@pytest.fixture(params=HELMS)
def helm(request: pytest.FixtureRequest) -> str:
    """A version of Helm."""
    return str(request.param)


@pytest.fixture
def type_(own_cluster: Cluster, helm: str, tmp_path: Path) -> Iterator[Type]:
    """Types a command into a shell, in a folder with what it reads of the repository."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "helm").symlink_to(binaries.program(helm))
    (tmp_path / "bin" / "kubectl").symlink_to(own_cluster.binary("kubectl"))
    for name in ("charts", "crds"):
        (tmp_path / name).symlink_to(ROOT / name)
    values = next(block for block in blocks("yaml", PAGE) if "# values.yaml" in block.text)
    (tmp_path / "values.yaml").write_text(values.text)
    homes = {f"HELM_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA")}
    environment = {**os.environ, **homes, "KUBECONFIG": str(own_cluster.kubeconfig)}
    environment["PATH"] = os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"]))

    def type_(command: str, *, fails: bool = False) -> str:
        code, output = run_in_shell(command, tmp_path, environment, seconds=600)
        assert (code != 0) == fails, f"{command}\n{output}"
        return output

    with pretended_kubelet(own_cluster, NAMESPACE):
        yield type_
    own_cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    own_cluster.kubectl("delete", "--filename", ROOT / "crds", "--ignore-not-found")


def written(helm: str) -> list[str]:
    """The commands of the page for a version of Helm."""
    others = [name for program, name in HELMS.items() if program != helm]
    lines = [line for block in blocks("sh", PAGE) for line in block.text.splitlines()]
    for_others = {
        " ".join(line.partition("#")[0].split())
        for line in lines
        if line.endswith(tuple(f"# {name}" for name in others))
    }
    return [one for one in commands(PAGE) if one.startswith(("helm", "kubectl")) and one not in for_others]


def test_the_commands_of_the_page(own_cluster: Cluster, helm: str, type_: Type) -> None:
    own_cluster.kubectl("delete", "--filename", ROOT / "crds", "--ignore-not-found")
    typed = written(helm)
    assert len([one for one in typed if "--take-ownership" in one]) == 1
    for command in typed:
        type_(command)
    assert own_cluster.items("crds") == []


def applied(cluster: Cluster, *, changed: bool) -> None:
    """Applies the CustomResourceDefinitions as docs/install.md says, or those of another release."""
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        definition = yaml.safe_load(file.read_text())
        if changed:
            definition["spec"]["versions"][0]["additionalPrinterColumns"] = ANOTHER_COLUMN
        how = "--server-side", "--force-conflicts", "--filename", "-"
        cluster.kubectl("apply", *how, stdin=yaml.safe_dump(definition))


def columns(cluster: Cluster) -> list[str]:
    (job,) = (one for one in cluster.items("crds") if one["spec"]["names"]["kind"] == "DreamBoothJob")
    return [column["name"] for column in job["spec"]["versions"][0]["additionalPrinterColumns"]]


INSTALL = "helm install dreambooth charts/dreambooth-operator --namespace dreambooth-system --create-namespace --take-ownership"


def test_helm_takes_over_the_same_definitions(own_cluster: Cluster, type_: Type) -> None:
    applied(own_cluster, changed=False)
    type_(INSTALL)
    type_("helm uninstall dreambooth --namespace dreambooth-system --wait")


def test_helm_takes_over_the_definitions_of_another_release(own_cluster: Cluster, helm: str, type_: Type) -> None:
    applied(own_cluster, changed=True)
    forced = "" if helm == "helm3" else " --force-conflicts"
    if forced:
        assert "conflict" in type_(INSTALL, fails=True)
        type_("helm uninstall dreambooth --namespace dreambooth-system --wait")
    type_(INSTALL + forced)
    assert "Phase" in columns(own_cluster)
    # And back, and again.
    applied(own_cluster, changed=True)
    type_(INSTALL.replace("install", "upgrade") + forced)
    assert "Phase" in columns(own_cluster)
    type_("helm uninstall dreambooth --namespace dreambooth-system --wait")
