"""Builds the headless Service through which the pods of several nodes find each other before they are ready."""

from typing import Any

from dreambooth_api.job import DreamBoothJob
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def build_service(dreamboothjob: Object, job: DreamBoothJob) -> dict[str, Any]:
    """The Service of a DreamBoothJob.

    Args:
        dreamboothjob: the DreamBoothJob as an object of the API server.
        job: the same, parsed.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(dreamboothjob, names.service(job.metadata.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": names.selector(job.metadata.name, dreamboothjob["metadata"]["uid"]),
        },
    }
