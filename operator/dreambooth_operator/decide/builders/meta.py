"""Builds the metadata of every object that is created for a workload."""

from typing import Any

from dreambooth_api.workload import API_VERSION
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def metadata(owner: Object, name: str, *, owned: bool = True) -> dict[str, Any]:
    """Metadata of an object.

    Args:
        owner: the workload, as an object of the API server.
        name: name of the object.
        owned: whether the object gets an owner reference, so that it is deleted with the workload.
    """
    own = owner["metadata"]
    reference = {
        "apiVersion": API_VERSION,
        "kind": owner["kind"],
        "name": own["name"],
        "uid": own["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    common = {"name": name, "namespace": own["namespace"], "labels": names.labels(owner)}
    return common | {"ownerReferences": [reference]} if owned else common
