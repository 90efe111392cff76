"""Enforces NetworkPolicies on the node with kube-router, as network plugins do; the plugin of the test cluster ignores them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import binaries, leftovers
from tests.cluster.layout import KUBECONFIG, NODE, SERVICE_CIDR
from tests.cluster.processes import Processes
from tests.patience import PATIENCE


@contextmanager
def enforced_network_policies() -> Iterator[None]:
    """Enforces the NetworkPolicies of the test cluster as long as the block lasts.

    Raises:
        NotReady: kube-router can't be built, or does not come up.
    """
    processes = Processes()
    flags = {
        "health-port": 0,
        "hostname-override": NODE,
        "kubeconfig": KUBECONFIG,
        "run-firewall": "true",
        "run-router": "false",
        "run-service-proxy": "false",
        "service-cluster-ip-range": SERVICE_CIDR,
    }
    try:
        processes.start_with_flags(binaries.program("kube-router"), flags)
        processes.until("kube-router", _is_enforcing, PATIENCE)
        yield
    finally:
        processes.stop_all()
        leftovers.sweep_network_policies()


def _is_enforcing() -> bool:
    """Whether the packet filter has chains of pods, which are written together with those of all policies."""
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True).stdout
    return any(line.startswith(":KUBE-POD-FW-") for line in saved.splitlines())
