"""Finds pods that lack volumes or a node and Jobs that lack pods for longer than usual; `controller.py` reads the Events about
them. Only objects of the workload are considered, not other objects with its labels.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    claims_of,
    condition_of,
    is_alive,
    is_controlled_by,
    is_finished,
    is_unscheduled,
    job_started_at,
    latest,
    name_of,
    newest_job,
    time_of,
    uid_of,
)

CLAIM_REASONS = "ProvisioningFailed", "FailedBinding", "VolumeMismatch", "ClaimLost", "ExternalProvisioning"
"""Reasons of Events about claims that have no volume, by the controller manager and by provisioners."""
MOUNT_REASONS = "FailedAttachVolume", "FailedMount"
"""Reasons of Events about pods whose volumes can't be attached (by the controller manager) or mounted (by the kubelet)."""
GRACE_PERIOD = timedelta(seconds=30)
"""Time after which the creation of containers or pods takes longer than usual."""
MAX_CLAIMS = 8
"""Largest number of claims that are read."""
MAX_PODS = 8
"""Largest number of pods whose Events are read: one Event explains the problem, and a tenant may create many pods."""


def jobs_lacking_pods(uid: str, jobs: Sequence[Object], pods: Sequence[Object], now: datetime) -> dict[str, datetime]:
    """The name of the newest Job if it lacks pods for longer than `GRACE_PERIOD`, and the time of its last pod creation.

    Args:
        uid: UID of the workload.
        jobs: the Jobs with the label of its name.
        pods: the pods of its own Jobs.
        now: the time.
    """
    newest = newest_job(job for job in jobs if is_controlled_by(job, uid) and not is_finished(job))
    if newest is None or newest["spec"].get("suspend") or condition_of(newest, "Suspended"):
        return {}
    created = [pod for pod in pods if is_controlled_by(pod, uid_of(newest))]
    counted = [pod for pod in created if is_alive(pod) or pod.get("status", {}).get("phase") == "Succeeded"]
    start = job_started_at(newest)
    if start is None or len(counted) >= newest["spec"].get("parallelism", 1) or now - start < GRACE_PERIOD:
        return {}
    # Events before the creation of a pod are outdated.
    times = [time_of(pod["metadata"].get("creationTimestamp")) for pod in created]
    return {name_of(newest): latest([start, *times]) or start}


def pods_lacking_volumes(pods: Sequence[Object], now: datetime) -> list[str]:
    """Names of the first pods that have been scheduled for longer than `GRACE_PERIOD` without a created container."""
    waiting = (pod["metadata"]["name"] for pod in pods if _being_created(pod) and _waited(pod, now))
    return list(itertools.islice(waiting, MAX_PODS))


def claims_lacking_volumes(pods: Sequence[Object], now: datetime) -> list[str]:
    """Names of the first claims of the pods that have no node for longer than `GRACE_PERIOD`: they may have no volume."""
    slow = (pod for pod in pods if is_unscheduled(pod) and _existed(pod, now))
    return list(itertools.islice(dict.fromkeys(claim for pod in slow for claim in claims_of(pod)), MAX_CLAIMS))


def _existed(pod: Object, now: datetime) -> bool:
    created = time_of(pod["metadata"].get("creationTimestamp"))
    return created is not None and now - created >= GRACE_PERIOD


def _being_created(pod: Object) -> bool:
    status = pod.get("status", {})
    states = [container.get("state", {}) for container in status.get("containerStatuses", ())]
    return status.get("phase") == "Pending" and all(
        state.get("waiting", {}).get("reason") in ("ContainerCreating", "PodInitializing") for state in states
    )


def _waited(pod: Object, now: datetime) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    scheduled = next((condition for condition in conditions if condition["type"] == "PodScheduled"), None)
    if scheduled is None or scheduled["status"] != "True":
        return False
    return now - datetime.fromisoformat(scheduled["lastTransitionTime"]) > GRACE_PERIOD
