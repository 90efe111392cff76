"""The claim of the output, where the spec names none. Created once: most of a claim can't be changed afterwards."""

from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.builders.volumes import output_claim
from dreambooth_operator.objects.observed import Object


def build_claim(owner: Object, job: DreamBoothJob) -> dict[str, Any]:
    """The PersistentVolumeClaim; it outlives the job unless `deletionPolicy` says otherwise.

    Args:
        owner: the DreamBoothJob as it stands in the API server.
        job: the same, read.
    """
    create = job.spec.volumes.output.create
    usual = "ReadWriteMany" if job.spec.resources.nodes > 1 else "ReadWriteOnce"
    spec: dict[str, Any] = {
        "accessModes": [usual] if create.access_modes is None else list(create.access_modes),
        "resources": {"requests": {"storage": create.size}},
    }
    if create.storage_class_name is not None:
        spec["storageClassName"] = create.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(owner, output_claim(job), owned=create.deletion_policy == "Delete"),
        "spec": spec,
    }
