"""DreamBoothScenes for a DreamBoothJob of the cluster."""

from typing import Any

from dreambooth_api.dreamboothscene import SCENE_KIND
from dreambooth_api.scene import Scene
from dreambooth_api.workload import API_VERSION
from dreambooth_client.seen import Seen

SAME_AS_JOB = "resources", "scheduling", "runtime", "image"
"""The fields of the DreamBoothJob by which its pods found a node; those of the scene find one too."""
TTL_SECONDS = 86_400
"""A DreamBoothScene for one command is deleted a day after its end; its pictures remain."""


def scene_manifest(job: Seen, name: str, scene: Scene) -> dict[str, Any]:
    """A DreamBoothScene that generates with the model of a DreamBoothJob, with a pod like those of the DreamBoothJob.

    Args:
        job: the DreamBoothJob.
        name: name of the DreamBoothScene.
        scene: what to generate.
    """
    fields = {field: job.spec[field] for field in SAME_AS_JOB if field in job.spec}
    resources = dict(fields["resources"])
    fields["resources"] = resources | {"nodes": 1, "gpusPerNode": min(1, resources["gpusPerNode"])}
    return {
        "apiVersion": API_VERSION,
        "kind": SCENE_KIND,
        "metadata": {"name": name, "namespace": job.object["metadata"]["namespace"]},
        "spec": {
            "jobName": job.target.name,
            **scene.model_dump(by_alias=True, exclude_unset=True, exclude_none=True),
            **fields,
            "ttlSecondsAfterFinished": TTL_SECONDS,
        },
    }
