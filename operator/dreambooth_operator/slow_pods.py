"""Which pods wait for their volumes for longer than usual: of these `controller.py` asks for the cluster's complaints."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from dreambooth_operator.observed import Object

PATIENCE = timedelta(seconds=30)
"""How long creating the containers of a pod usually takes at most."""
ASKED = 8
"""So many pods of a job are asked about at most: one says what to mend, and a tenant may have made many."""


def awaiting_volumes(pods: Sequence[Object], now: datetime) -> list[str]:
    """Names of the first pods that have had a node for longer than `PATIENCE` while no container of theirs could be created."""
    waiting = (pod["metadata"]["name"] for pod in pods if _being_created(pod) and _waited(pod, now))
    return list(itertools.islice(waiting, ASKED))


def _being_created(pod: Object) -> bool:
    status = pod.get("status", {})
    states = [container.get("state", {}) for container in status.get("containerStatuses", ())]
    return status.get("phase") == "Pending" and all(
        state.get("waiting", {}).get("reason") == "ContainerCreating" for state in states
    )


def _waited(pod: Object, now: datetime) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    scheduled = next((condition for condition in conditions if condition["type"] == "PodScheduled"), None)
    if scheduled is None or scheduled["status"] != "True":
        return False
    return now - datetime.fromisoformat(scheduled["lastTransitionTime"]) > PATIENCE
