"""The programs of the test cluster, built from pinned Go modules once into the cache: each when a test first needs it."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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
    "helm3": "helm.sh/helm/v3/cmd/helm",
    "gitops": ".",
    "kueue": "sigs.k8s.io/kueue/cmd/kueue",
    "kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
    "promtool": "github.com/prometheus/prometheus/cmd/promtool",
}
"""Package of each binary."""
CONTROL_PLANE = "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"
NODE = "kubelet", "kube-proxy", "coredns", "pause"
TOOLS = ("helm",)
"""Of `make test`."""
SLOW_TOOLS = "helm3", "gitops", "prometheus", "promtool"
"""Of `make test-slow`."""
ON_PATH = "prometheus", "promtool"
"""Programs that are taken from the PATH if they are there: any recent version is sufficient for `make test`."""
OWN_MODULES = {
    "helm": "helm",
    "helm3": "helm3",
    "gitops": "gitops",
    "kueue": "kueue",
    "kube-router": "kube-router",
    "prometheus": "prometheus",
    "promtool": "prometheus",
}
"""Folder of the module of each binary whose dependencies conflict with the others."""
TAGS = "remove_all_sd,enable_kubernetes_sd"
"""Excludes the service discoveries of Prometheus for clouds, which take most of the build time."""
COMPILER_FLAGS = "all=-dwarf=false"
"""Generates no debug information, which the linker leaves out: a seventh less work for the same binaries."""
GARBAGE_PERCENT = "400"
"""Growth of the compiler's memory at which it collects garbage, by default 100 %: less work, and more memory."""
LINKER_FLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}"


def folder(name: str) -> Path:
    """The folder of a program and of the others of its module; its name has a digest of their inputs.

    Raises:
        NotReady: there is no Go toolchain.
    """
    version = subprocess.run([toolchain(), "version"], capture_output=True, text=True, check=True).stdout
    module = _module(name)
    packages = {other: package for other, package in PACKAGES.items() if _module(other) == module}
    digest = hashlib.sha256(json.dumps([version, LINKER_FLAGS, TAGS, packages]).encode())
    for file in sorted(path for path in module.rglob("*") if path.is_file()):
        # Modules are folders of the one of Kubernetes.
        if module != MODULES or file.relative_to(MODULES).parts[0] not in OWN_MODULES.values():
            digest.update(f"{file.relative_to(module)}\0".encode() + file.read_bytes())
    return CACHE / "bin" / f"{_prefix(name)}{digest.hexdigest()[:16]}"


def built(*names: str, report: Callable[[str], None] = lambda _: None) -> Path:
    """Builds those of some programs of one module that are missing and returns their folder.

    Args:
        names: the programs; Kubernetes' take a minute or two each on two cores.
        report: is called with a line before each build.

    Raises:
        NotReady: there is no Go toolchain, or a build failed.
    """
    (target,) = {folder(name) for name in names}
    if all((target / name).exists() for name in names):
        return target
    target.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    # One process builds at a time; the others find what it has built.
    with (target.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in names if not (target / name).exists()]
        for number, name in enumerate(missing, 1):
            report(f"building {name} ({number} of {len(missing)})")
            _build(name, target)
        for old in target.parent.glob(f"{_prefix(names[0])}*"):
            if old != target:
                shutil.rmtree(old)
    return target


def program(name: str) -> Path:
    """Path of a program, which is built where it is missing.

    Raises:
        NotReady: see `built`.
    """
    found = shutil.which(name) if name in ON_PATH else None
    return Path(found) if found else built(name) / name


def sources(name: str) -> Path:
    """The folder of the Go module that a program is built from, with its manifests.

    Raises:
        NotReady: there is no Go toolchain, or the module can't be downloaded.
    """
    module = PACKAGES[name].partition("/cmd/")[0]
    command = [toolchain(), "mod", "download", "-json", module]
    ended = subprocess.run(command, cwd=_module(name), capture_output=True, text=True, check=False)
    if ended.returncode:
        raise NotReady(f"{module} was not downloaded: {ended.stderr or ended.stdout}")
    return Path(json.loads(ended.stdout)["Dir"])


def toolchain() -> str:
    """The `go` command.

    Raises:
        NotReady: there is none.
    """
    go = shutil.which("go") or shutil.which("go", path=Path(sys.executable).parent)
    if go is None:
        raise NotReady("the test cluster is built from source and needs Go")
    return go


def _module(name: str) -> Path:
    """The folder of the module of a program."""
    return MODULES / OWN_MODULES.get(name, "")


def _prefix(name: str) -> str:
    """What the names of the folders of a program begin with."""
    return f"{OWN_MODULES.get(name, 'kubernetes')}-"


def _build(name: str, target: Path) -> None:
    staging = target / f".{name}"
    flags = ["-trimpath", "-tags", TAGS, "-gcflags", COMPILER_FLAGS, "-ldflags", LINKER_FLAGS]
    command = [toolchain(), "build", *flags, "-o", str(staging), PACKAGES[name]]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOGC": GARBAGE_PERCENT}
    with (LOGS / "build.log").open("ab") as log:
        ended = subprocess.run(command, cwd=_module(name), env=environment, stdout=log, stderr=log, check=False)
    if ended.returncode:
        raise NotReady(f"{name} was not built: {LOGS / 'build.log'}")
    staging.rename(target / name)
