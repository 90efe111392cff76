"""Builds the PersistentVolumeClaim for the output if the spec names none. It is created once: most of its spec is immutable."""

from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.sections import NewClaim
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.objects.observed import Object


def build_claim(owner: Object, workload: Workload, name: str, create: NewClaim) -> dict[str, Any]:
    """The PersistentVolumeClaim. It is kept when the workload is deleted, unless `deletionPolicy` is `Delete`.

    Args:
        owner: the workload as an object of the API server.
        workload: the same, parsed.
        name: name of the claim.
        create: what the spec says of it.
    """
    default = "ReadWriteMany" if workload.spec.resources.nodes > 1 else "ReadWriteOnce"
    spec: dict[str, Any] = {
        "accessModes": [default] if create.access_modes is None else list(create.access_modes),
        "resources": {"requests": {"storage": create.size}},
    }
    if create.storage_class_name is not None:
        spec["storageClassName"] = create.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(owner, name, owned=create.deletion_policy == "Delete"),
        "spec": spec,
    }
