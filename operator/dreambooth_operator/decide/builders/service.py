"""Builds the headless Service through which the pods of several nodes find each other before they are ready."""

from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object


def build_service(owner: Object, workload: Workload) -> dict[str, Any]:
    """The Service of a workload.

    Args:
        owner: the workload as an object of the API server.
        workload: the same, parsed.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, names.service(workload)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": names.selector(owner),
        },
    }
