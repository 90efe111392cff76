"""The node: containerd, kubelet, kube-proxy and DNS on this machine. Needs root, Linux and Debian's containerd."""

import json
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import yaml

from tests.cluster import leftovers
from tests.cluster.control_plane import ControlPlane
from tests.cluster.layout import (
    BRIDGE,
    CACHE,
    CONTAINERD_SOCKET,
    CTR,
    INTERFACE,
    KUBECONFIG,
    NODE,
    NODE_ADDRESS,
    PAUSE_IMAGE,
    POD_CIDR,
    RUN,
)
from tests.cluster.processes import Processes, run, succeeds
from tests.patience import PATIENCE
from tests.ports import free_port

PROGRAMS = "containerd", "runc", "buildah", "debootstrap", "iptables", "ipset", "conntrack", "ip"
GPUS = 8
"""Number of fake GPUs of the node: the scheduler counts them, but pods get no device."""


def preflight_failure() -> str | None:
    """Why a node can't run here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "containers need root on Linux"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    missing += [] if Path("/usr/lib/cni/bridge").exists() else ["containernetworking-plugins"]
    if missing:
        return f"not installed: {', '.join(missing)} (tests/cluster/install.sh installs them)"
    if not RUN.exists() and (found := leftovers.found()):
        return f"another Kubernetes seems to run on this machine: {found[0]}"
    return None


class Node:
    """The single node of the cluster."""

    def __init__(self, processes: Processes, binaries: Path, control_plane: ControlPlane) -> None:
        self._processes = processes
        self._binaries = binaries
        self._control_plane = control_plane
        self._kubectl = binaries / "kubectl", f"--kubeconfig={KUBECONFIG}"

    def start_network(self) -> None:
        """Adds the address of the node; the API server listens on it."""
        leftovers.forward_packets()
        run("ip", "link", "add", INTERFACE, "type", "bridge")
        run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", INTERFACE)
        run("ip", "link", "set", INTERFACE, "up")

    def start(self) -> None:
        """Starts the other components.

        Raises:
            NotReady: a part did not come up.
        """
        self._start_kubelet()
        self._start_proxy()
        self._start_dns()
        ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        node = *self._kubectl, "get", "node", NODE, "--output"
        self._processes.until("kubelet", lambda: succeeds(*node, "name") and run(*node, ready) == "True", PATIENCE)
        gpus = {name: {"nvidia.com/gpu": str(GPUS)} for name in ("capacity", "allocatable")}
        patch = json.dumps({"status": gpus})
        run(*self._kubectl, "patch", "node", NODE, "--subresource=status", "--type=merge", f"--patch={patch}")

    def start_containerd(self) -> None:
        """Starts containerd; images can be loaded afterwards."""
        config = RUN / "containerd.toml"
        config.write_text(
            f"""version = 2
root = "{CACHE / "containerd"}"
state = "{RUN / "containerd"}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# The machine may lack the capability to make a process less likely to be killed.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{RUN / "cni"}"
"""
        )
        bridge = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(RUN / "addresses"),
                "ranges": [[{"subnet": POD_CIDR}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
        (RUN / "cni").mkdir()
        document = {"cniVersion": "0.4.0", "name": "dbtest", "plugins": plugins}
        (RUN / "cni" / "10-test.conflist").write_text(json.dumps(document))
        self._processes.start("containerd", ["containerd", "--config", config])
        self._processes.until("containerd", lambda: succeeds(*CTR, "version"), PATIENCE)
        if stale := run(*CTR, "containers", "ls", "-q").split():  # of a cluster that was killed
            run(*CTR, "containers", "rm", *stale)

    def _start_kubelet(self) -> None:
        folder = RUN / "kubelet"
        document = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "x509": {"clientCAFile": str(self._control_plane.certificate_authority)},
            },
            "address": NODE_ADDRESS,
            "cgroupDriver": "cgroupfs",
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "imageMaximumGCAge": "0s",
            "podLogsDir": str(RUN / "pod-logs"),
            "port": free_port(),
            "healthzPort": 0,
            "volumePluginDir": str(folder / "plugins"),
        }
        (RUN / "kubelet.yaml").write_text(yaml.safe_dump(document))
        flags = {
            "cert-dir": RUN / "certificates",
            "config": RUN / "kubelet.yaml",
            "hostname-override": NODE,
            "kubeconfig": self._control_plane.kubeconfig("node"),
            "node-ip": NODE_ADDRESS,
            "root-dir": folder,
        }
        self._start("kubelet", flags)

    def _start_proxy(self) -> None:
        flags = {
            "cluster-cidr": POD_CIDR,
            "conntrack-max-per-core": 0,
            "conntrack-tcp-timeout-close-wait": "0s",
            "conntrack-tcp-timeout-established": "0s",
            "healthz-bind-address": f"{NODE_ADDRESS}:{free_port()}",
            "hostname-override": NODE,
            "kubeconfig": self._control_plane.kubeconfig("kube-proxy"),
            "metrics-bind-address": f"{NODE_ADDRESS}:{free_port()}",
            "proxy-mode": "iptables",
        }
        self._start("kube-proxy", flags)

    def _start_dns(self) -> None:
        ready = f"{NODE_ADDRESS}:{free_port()}"
        names = f"kubernetes cluster.local {{\n  kubeconfig {KUBECONFIG}\n }}"
        corefile = RUN / "Corefile"
        corefile.write_text(f".:53 {{\n bind {NODE_ADDRESS}\n errors\n ready {ready}\n {names}\n}}\n")
        self._start("coredns", {"conf": corefile})
        self._processes.until("coredns", lambda: _answers(f"http://{ready}/ready"), PATIENCE)

    def _start(self, name: str, flags: dict[str, object]) -> None:
        self._processes.start_with_flags(self._binaries / name, flags)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=1):
            return True
    except OSError:
        return False
