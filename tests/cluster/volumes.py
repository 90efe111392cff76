"""Storage of the node: folders as local volumes, made before anybody asks for them."""

import json
from collections.abc import Sequence
from typing import Any

from tests.cluster.layout import NODE, RUN
from tests.cluster.processes import run

CLASS = "local"
COUNT = 100


def make_volumes(kubectl: Sequence[str | Any]) -> None:
    """Makes the default StorageClass and its volumes. A folder on one node can be mounted by many pods, so it offers
    ReadWriteMany too."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    items = [storage_class, *(local_volume(f"local-{number}", CLASS, "1Ti") for number in range(COUNT))]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    run(*kubectl, "create", "--filename", "-", stdin=document.encode())


def local_volume(name: str, storage_class: str, size: str) -> dict[str, Any]:
    """A volume on a new folder of the node."""
    folder = RUN / "volumes" / name
    folder.mkdir(parents=True)
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }
