"""Storage of the node: folders as local volumes, created in advance."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def small_volume(kubectl: Callable[..., str], megabytes: int) -> Iterator[str]:
    """A small volume; returns the name of its StorageClass."""
    name = f"small-{secrets.token_hex(3)}"
    volume = local_volume(name, name, f"{megabytes}Mi")
    folder = volume["spec"]["local"]["path"]
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", folder)
    kubectl("create", "--filename", "-", stdin=json.dumps(volume))
    try:
        yield name
    finally:
        kubectl("delete", "pv", name, "--wait=false")
        run("umount", "--lazy", folder)
