"""The binaries of the control plane and the node, built from pinned Go modules once into the cache."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.layout import CACHE, LOGS
from tests.cluster.processes import NotReady

MODULES = Path(__file__).parent / "binaries"
KUBERNETES = "v1.34.4"
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "coredns": "./coredns",
    "pause": "./pause",
    "helm": "helm.sh/helm/v4/cmd/helm",
}
"""Package of each binary."""
OWN_MODULES = {"helm"}
"""Binaries whose dependencies contradict the others': each has a module in a folder of its name."""
LINKER_FLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}"


def folder() -> Path:
    """Where the binaries are: named by everything that determines them."""
    digest = hashlib.sha256(LINKER_FLAGS.encode())
    for file in sorted(path for path in MODULES.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(MODULES)}\0".encode() + file.read_bytes())
    return CACHE / "bin" / digest.hexdigest()[:16]


def built() -> Path:
    """Builds what is missing (a quarter of an hour on two cores where nothing is there) and returns the folder.

    Raises:
        NotReady: there is no Go toolchain, or a build failed.
    """
    target = folder()
    missing = [name for name in PACKAGES if not (target / name).exists()]
    if not missing:
        return target
    go = toolchain()
    target.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in missing:
        _build(go, name, target)
    for old in target.parent.iterdir():
        if old != target:
            shutil.rmtree(old)
    return target


def toolchain() -> str:
    """The `go` command.

    Raises:
        NotReady: there is none.
    """
    go = shutil.which("go") or shutil.which("go", path=Path(sys.executable).parent)
    if go is None:
        raise NotReady("the test cluster is built from source and needs Go")
    return go


def _build(go: str, name: str, target: Path) -> None:
    staging = target / f".{name}"
    command = [go, "build", "-trimpath", "-ldflags", LINKER_FLAGS, "-o", str(staging), PACKAGES[name]]
    module = MODULES / name if name in OWN_MODULES else MODULES
    environment = {**os.environ, "CGO_ENABLED": "0"}
    with (LOGS / "build.log").open("ab") as log:
        ended = subprocess.run(command, cwd=module, env=environment, stdout=log, stderr=log, check=False)
    if ended.returncode:
        raise NotReady(f"{name} was not built: {LOGS / 'build.log'}")
    staging.rename(target / name)
