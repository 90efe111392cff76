"""Metadata of all that is made for a DreamBoothJob."""

from typing import Any

from dreambooth_api.job import API_VERSION, KIND
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def metadata(job: Object, name: str, *, owned: bool = True) -> dict[str, Any]:
    """Metadata of an object.

    Args:
        job: the DreamBoothJob that it is made for.
        name: name of the object.
        owned: whether it goes when the DreamBoothJob goes.
    """
    owner = job["metadata"]
    reference = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    made = {"name": name, "namespace": owner["namespace"], "labels": names.labels(owner["name"])}
    return made | {"ownerReferences": [reference]} if owned else made
