"""Builds the PersistentVolumeClaim for the output if the spec names none. It is created once: most of its spec is immutable."""

from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.builders.volumes import output_claim
from dreambooth_operator.objects.observed import Object


def build_claim(dreamboothjob: Object, job: DreamBoothJob) -> dict[str, Any]:
    """The PersistentVolumeClaim. It is kept when the DreamBoothJob is deleted, unless `deletionPolicy` is `Delete`.

    Args:
        dreamboothjob: the DreamBoothJob as an object of the API server.
        job: the same, parsed.
    """
    create = job.spec.volumes.output.create
    default = "ReadWriteMany" if job.spec.resources.nodes > 1 else "ReadWriteOnce"
    spec: dict[str, Any] = {
        "accessModes": [default] if create.access_modes is None else list(create.access_modes),
        "resources": {"requests": {"storage": create.size}},
    }
    if create.storage_class_name is not None:
        spec["storageClassName"] = create.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(dreamboothjob, output_claim(job), owned=create.deletion_policy == "Delete"),
        "spec": spec,
    }
