"""Builds the metadata of every object that is created for a DreamBoothJob."""

from typing import Any

from dreambooth_api.job import KIND
from dreambooth_api.workload import API_VERSION
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def metadata(dreamboothjob: Object, name: str, *, owned: bool = True) -> dict[str, Any]:
    """Metadata of an object.

    Args:
        dreamboothjob: the DreamBoothJob.
        name: name of the object.
        owned: whether the object gets an owner reference, so that it is deleted with the DreamBoothJob.
    """
    own = dreamboothjob["metadata"]
    reference = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": own["name"],
        "uid": own["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    common = {"name": name, "namespace": own["namespace"], "labels": names.labels(own["name"])}
    return common | {"ownerReferences": [reference]} if owned else common
