"""Kueue in the test cluster: its manager is built from its Go module, which also has its manifests."""

import json
import time
from typing import Any

import yaml

from tests.cluster import binaries, images
from tests.conftest import Cluster
from tests.patience import PATIENCE

IMAGE = "localhost/kueue:test"
NAMESPACE = "kueue-system"
VERSION = "kueue.x-k8s.io/v1beta2"
FLAVOR = "test"


def install(cluster: Cluster) -> None:
    """Installs Kueue, and waits until it is ready."""
    manager = binaries.program("kueue")
    images.load_files(IMAGE, "scratch", {manager: "/manager"}, "--user=65532:65532", '--entrypoint=["/manager"]')
    cluster.kubectl("apply", "--server-side", "--filename", "-", stdin=_manifests(cluster))
    # The API server can't reach aggregated APIs, and a namespace is not deleted while one of them is unreachable.
    cluster.kubectl("delete", "apiservices", "--selector=app.kubernetes.io/name=kueue")
    wait = "--for=condition=Available", "deployment/kueue-controller-manager", f"--timeout={PATIENCE}s"
    cluster.kubectl("--namespace", NAMESPACE, "wait", *wait)
    # The webhooks respond shortly after the manager is ready.
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            apply(cluster, {"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": {"name": FLAVOR}})
            return
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(1)


def _manifests(cluster: Cluster) -> str:
    """Kueue's own manifests, with the image that is built here."""
    items = list(yaml.safe_load_all(cluster.kubectl("kustomize", binaries.sources("kueue") / "config" / "default")))
    (deployment,) = (item for item in items if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container |= {"image": IMAGE, "imagePullPolicy": "Never"}
    return yaml.safe_dump_all(items)


def uninstall(cluster: Cluster) -> None:
    """Uninstalls Kueue, webhooks first: without the manager, they would block the creation of pods."""
    kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
    cluster.kubectl("delete", kinds, "--selector=app.kubernetes.io/name=kueue")
    cluster.kubectl(
        "--namespace", NAMESPACE, "delete", "deployment", "--all", "--cascade=foreground", f"--timeout={PATIENCE}s"
    )
    for kind in ("workloads", "localqueues", "clusterqueues", "resourceflavors"):
        every = [] if kind in ("clusterqueues", "resourceflavors") else ["--all-namespaces"]
        for item in json.loads(cluster.kubectl("get", f"{kind}.kueue.x-k8s.io", *every, "--output=json"))["items"]:
            _free(cluster, kind, item["metadata"])
    cluster.kubectl("delete", "--filename", "-", "--ignore-not-found", "--wait=false", stdin=_manifests(cluster))


def _free(cluster: Cluster, kind: str, metadata: dict[str, Any]) -> None:
    """Removes the finalizers of an object, because the manager is no longer running.

    The object may have gone in the meantime, with its namespace.
    """
    where = ["--namespace", metadata["namespace"]] if "namespace" in metadata else []
    patch = '--patch={"metadata":{"finalizers":null}}'
    try:
        cluster.kubectl(*where, "patch", f"{kind}.kueue.x-k8s.io", metadata["name"], "--type=merge", patch)
    except AssertionError as error:
        if "(NotFound)" not in str(error):
            raise


def queue(cluster: Cluster, namespace: str, gpus: int, name: str = "team") -> None:
    """Creates queues for a namespace, with a quota of GPUs and preemption by priority.

    Args:
        cluster: where.
        namespace: whose; the ClusterQueue has its name.
        gpus: the quota.
        name: name of the LocalQueue.
    """
    amounts = {"cpu": "100", "memory": "1Ti", "nvidia.com/gpu": str(gpus)}
    flavor = {"name": FLAVOR, "resources": [{"name": key, "nominalQuota": amount} for key, amount in amounts.items()]}
    spec = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "resourceGroups": [{"coveredResources": list(amounts), "flavors": [flavor]}],
        "preemption": {"withinClusterQueue": "LowerPriority"},
    }
    apply(cluster, {"apiVersion": VERSION, "kind": "ClusterQueue", "metadata": {"name": namespace}, "spec": spec})
    local = {"name": name, "namespace": namespace}
    apply(
        cluster, {"apiVersion": VERSION, "kind": "LocalQueue", "metadata": local, "spec": {"clusterQueue": namespace}}
    )


def apply(cluster: Cluster, item: dict[str, Any]) -> None:
    """Applies an object."""
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(item))
