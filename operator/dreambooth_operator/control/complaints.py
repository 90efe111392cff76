"""Which pods wait for their volumes, and which Job for its pods, for longer than usual: `controller.py` asks for the cluster's
complaints about these. It asks of no more than a DreamBoothJob has itself, whatever else bears its labels.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    condition_of,
    is_alive,
    is_controlled_by,
    is_finished,
    job_started_at,
    latest,
    name_of,
    newest_job,
    time_of,
    uid_of,
)

GRACE_PERIOD = timedelta(seconds=30)
"""How long creating the containers of a pod, or the pods of a Job, usually takes at most."""
ASKED = 8
"""So many pods of a job are asked about at most: one says what to mend, and a tenant may have made many."""


def awaiting_pods(owner: str, jobs: Sequence[Object], pods: Sequence[Object], now: datetime) -> dict[str, datetime]:
    """The newest Job if it has had fewer pods than it should for longer than `GRACE_PERIOD`, and since when nobody makes one.

    Args:
        owner: UID of the DreamBoothJob.
        jobs: the Jobs that bear its name as their label.
        pods: the pods of its own Jobs.
        now: the time.
    """
    newest = newest_job(job for job in jobs if is_controlled_by(job, owner) and not is_finished(job))
    if newest is None or newest["spec"].get("suspend") or condition_of(newest, "Suspended"):
        return {}
    made = [pod for pod in pods if is_controlled_by(pod, uid_of(newest))]
    there = [pod for pod in made if is_alive(pod) or pod.get("status", {}).get("phase") == "Succeeded"]
    begun = job_started_at(newest)
    if begun is None or len(there) >= newest["spec"].get("parallelism", 1) or now - begun < GRACE_PERIOD:
        return {}
    # What was said before a pod was made is no longer true.
    return {
        name_of(newest): latest([begun, *(time_of(pod["metadata"].get("creationTimestamp")) for pod in made)]) or begun
    }


def awaiting_volumes(pods: Sequence[Object], now: datetime) -> list[str]:
    """Names of the first pods that have been scheduled for longer than `GRACE_PERIOD` without a created container."""
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
    return now - datetime.fromisoformat(scheduled["lastTransitionTime"]) > GRACE_PERIOD
