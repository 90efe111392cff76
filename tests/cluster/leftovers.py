"""Removes everything that a node may have left on this machine."""

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from tests.cluster.layout import BRIDGE, CONTAINERD_SOCKET, INTERFACE, POD_CIDR, RUN
from tests.cluster.processes import succeeds

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CHAINS = "KUBE-", "CNI-"
"""Prefixes of the names of chains that kube-proxy, kubelet and CNI plugins create."""
POLICY_CHAINS = "KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-"
"""Prefixes of the names of kube-router's chains for NetworkPolicies."""
POLICY_SETS = "KUBE-", "kube-router-"
"""Prefixes of the names of its sets of addresses."""


def forward_packets() -> None:
    """Enables IP forwarding; `sweep` disables it."""
    (RUN / FORWARDING.name).write_text(FORWARDING.read_text())
    FORWARDING.write_text("1")


def sweep() -> None:
    """Removes processes of containers, mounts, interfaces, packet filters, control groups and files of a cluster."""
    if not RUN.exists():
        return
    # A cluster without a node leaves only files; the rest belongs to another cluster on this machine.
    if (before := RUN / FORWARDING.name).exists():
        _sweep_node(before.read_text())
    shutil.rmtree(RUN, ignore_errors=True)


def _sweep_node(forwarding: str) -> None:
    FORWARDING.write_text(forwarding)
    _end_containers()
    for mount in sorted(_mounts(), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)
    for interface in (BRIDGE, INTERFACE):
        subprocess.run(["ip", "link", "delete", interface], capture_output=True)
    for family in ("iptables", "ip6tables"):
        _sweep_filters(family, CHAINS)
    _sweep_sets()
    for group in sorted(Path("/sys/fs/cgroup").glob("**/kubepods/**/"), key=lambda path: -len(path.parts)):
        with suppress(OSError):
            group.rmdir()


def _end_containers() -> None:
    """Stops the shims, which outlive containerd, with their processes. Network namespaces are removed with the mounts."""
    for shim in _shims():
        for process in [*shim.children(recursive=True), shim]:
            with suppress(psutil.Error):
                process.kill()
    for namespace in _namespaces():
        subprocess.run(["umount", "--lazy", namespace], capture_output=True)
        with suppress(OSError):
            namespace.unlink()


def _namespaces() -> list[Path]:
    """The network namespaces of pods, identified by their addresses."""
    prefix = POD_CIDR.rpartition(".0.0/")[0]
    found = []
    for namespace in Path("/run/netns").glob("cni-*"):
        addresses = subprocess.run(
            ["nsenter", f"--net={namespace}", "ip", "-4", "address"], capture_output=True, text=True
        )
        if f"inet {prefix}." in addresses.stdout:
            found.append(namespace)
    return found


def _shims() -> list[psutil.Process]:
    """The mounts of containers."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if str(CONTAINERD_SOCKET) in command and "containerd-shim" in command[0]:
                found.append(process)
    return found


def _mounts() -> list[str]:
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{RUN}/")]


def sweep_network_policies() -> None:
    """Removes the packet filters for NetworkPolicies, so that all connections are allowed again."""
    _sweep_filters("iptables", POLICY_CHAINS)
    _sweep_sets()


def _sweep_sets() -> None:
    if shutil.which("ipset") is None:
        return
    for name in subprocess.run(["ipset", "list", "-name"], capture_output=True, text=True).stdout.split():
        if name.startswith(POLICY_SETS):
            subprocess.run(["ipset", "destroy", name], capture_output=True)


def _sweep_filters(family: str, chains: tuple[str, ...]) -> None:
    """Restores the tables without some chains and rules that refer to them."""
    saved = subprocess.run([f"{family}-save"], capture_output=True, text=True)
    lines = saved.stdout.splitlines()
    kept = [line for line in lines if not is_ours(line, chains)]
    if saved.returncode == 0 and len(kept) < len(lines):
        subprocess.run([f"{family}-restore"], input="\n".join(kept) + "\n", text=True, capture_output=True)


def is_ours(line: str, chains: tuple[str, ...] = CHAINS) -> bool:
    """Whether a line of `iptables-save` defines a chain of the cluster, or is a rule that refers to one."""
    return any(word.startswith(chains) for word in line.removeprefix(":").split())


def found() -> list[str]:
    """What a node has left on this machine."""
    interfaces = [name for name in (BRIDGE, INTERFACE) if succeeds("ip", "link", "show", name)]
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True).stdout
    chains = [line for line in saved.splitlines() if is_ours(line)]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("*/kubepods")]
    return [*interfaces, *chains, *groups, *map(str, _shims()), *_mounts()]
