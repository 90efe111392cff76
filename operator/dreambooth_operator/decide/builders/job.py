"""The Indexed Job of an attempt. Created once: its template can't be changed, and Kueue writes into it."""

from typing import Any

from dreambooth_api.failures import Interrupted
from dreambooth_api.job import DreamBoothJob
from dreambooth_api.runtime import Runtime
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.builders.pod import build_pod_template
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.settings import Settings


def build_job(owner: Object, job: DreamBoothJob, number: int, runtime: Runtime, settings: Settings) -> dict[str, Any]:
    """The Job of an attempt; one that names a queue waits for Kueue.

    Args:
        owner: the DreamBoothJob as it stands in the API server.
        job: the same, read and equipped.
        number: number of the attempt.
        runtime: what it is equipped with.
        settings: what the administrator decides.
    """
    name = names.attempt(job.metadata.name, number)
    meta = metadata(owner, name)
    meta["labels"] |= {names.LABEL_UID: owner["metadata"]["uid"], names.LABEL_ATTEMPT: str(number)}
    if runtime.name:
        meta["labels"][names.LABEL_RUNTIME] = runtime.name
    if deadline := runtime.spec.limits.active_deadline_seconds:
        meta["annotations"] = {names.ANNOTATION_DEADLINE: str(deadline)}
    template = build_pod_template(job, name, dict(meta["labels"]), settings)
    queue = job.spec.scheduling.queue_name
    if queue:
        meta["labels"][names.LABEL_QUEUE] = queue
    nodes = job.spec.resources.nodes
    spec = {
        "completions": nodes,
        "parallelism": nodes,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _rules(nodes)},
        "suspend": bool(queue),
        "template": template,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def _rules(nodes: int) -> list[dict[str, Any]]:
    """What the Job makes of failed pods; the first rule that matches decides.

    A single pod that the cluster took away is replaced by the Job itself. Of several, the others can't go on without it: the
    attempt fails as a whole, and the operator starts the next one. Pods that saved their state when told to stop are
    replaced in any case: Kueue stops them all when it takes the admission back, and the Job must live on to wait for the
    next. All else ends the attempt; that it is a rule which says so makes the Job remember the exit code even when the pods
    are gone.
    """
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return [
        {"action": "Ignore" if nodes == 1 else "FailJob", "onPodConditions": disrupted},
        {"action": "Ignore", "onExitCodes": _exit_codes("In")},
        {"action": "FailJob", "onExitCodes": _exit_codes("NotIn")},
    ]


def _exit_codes(operator: str) -> dict[str, Any]:
    return {"containerName": names.CONTAINER, "operator": operator, "values": [Interrupted.exit_code]}
