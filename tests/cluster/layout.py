"""Folders and addresses of the test cluster. Only one cluster can run on a machine."""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dreambooth-operator"
"""Data that is kept after a cluster: binaries, images."""
RUN = Path(tempfile.gettempdir()) / "dreambooth-test-cluster"
"""Data of a cluster: state, logs, volumes."""

NODE = "test-node"
PAUSE_IMAGE = "localhost/pause:test"
"""The sandbox image of pods."""
NODE_ADDRESS = "10.250.0.1"
"""Address of the node, on a separate interface."""
INTERFACE, BRIDGE = "dbtest0", "dbtest-cni0"
SERVICE_CIDR, API_SERVICE = "10.251.0.0/16", "10.251.0.1"
POD_CIDR = "10.252.0.0/16"

KUBECONFIG = RUN / "admin.kubeconfig"
STATE = RUN / "cluster.json"
"""Written when the cluster is ready; describes the cluster and its owner."""
LOGS = RUN / "logs"
AUDIT_LOG = RUN / "audit.log"
"""One JSON line for each request of a ServiceAccount outside kube-system."""
SUPERVISOR_LOG = RUN.with_suffix(".log")
CONTAINERD_SOCKET = RUN / "containerd" / "containerd.sock"
CTR = "ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io"
"""containerd's client, in the namespace of Kubernetes' images and containers."""
