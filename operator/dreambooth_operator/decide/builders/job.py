"""Builds the Indexed Job of an attempt. It is created once: its template is immutable, and Kueue writes to it."""

from typing import Any

from dreambooth_api.cluster_rules import Workload
from dreambooth_api.failures import Interrupted
from dreambooth_api.runtime import Runtime
from dreambooth_operator.decide.builders.meta import metadata
from dreambooth_operator.decide.builders.pod import build_pod_template
from dreambooth_operator.decide.programs.program import Program
from dreambooth_operator.objects import names
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.settings import Settings


def build_job(
    owner: Object, workload: Workload, program: Program, number: int, runtime: Runtime, settings: Settings
) -> dict[str, Any]:
    """The Job of an attempt; with a queue name, it is created suspended and waits for Kueue.

    Args:
        owner: the workload as an object of the API server.
        workload: the same, parsed, with the fields that its runtime sets.
        program: what its pods run.
        number: number of the attempt.
        runtime: the runtime.
        settings: the settings of the operator.
    """
    name = names.attempt(workload, number)
    meta = metadata(owner, name)
    meta["labels"] |= names.selector(owner) | {names.LABEL_ATTEMPT: str(number)}
    if runtime.name:
        meta["labels"][names.LABEL_RUNTIME] = runtime.name
    seconds = {
        names.ANNOTATION_DEADLINE: runtime.spec.limits.active_deadline_seconds,
        names.ANNOTATION_PENDING: runtime.spec.defaults.pending_deadline_seconds,
        names.ANNOTATION_PROGRESS: runtime.spec.defaults.progress_deadline_seconds,
    }
    meta["annotations"] = {names.ANNOTATION_OUTPUT: "/".join(program.output)}
    meta["annotations"] |= {name: str(value) for name, value in seconds.items() if value}
    template = build_pod_template(workload, program, name, dict(meta["labels"]), runtime.spec, settings)
    queue = workload.spec.scheduling.queue_name
    if queue:
        meta["labels"][names.LABEL_QUEUE] = queue
    if priority := workload.spec.scheduling.workload_priority_class_name:
        meta["labels"][names.LABEL_WORKLOAD_PRIORITY] = priority
    nodes = workload.spec.resources.nodes
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
    """The rules of the podFailurePolicy; the first one that matches applies.

    After a disruption, the Job controller replaces a single pod. With several nodes, the other pods can't continue without it, so
    the attempt fails and the operator starts the next one. Pods that saved their state after SIGTERM are always replaced: Kueue
    stops all pods when it evicts a workload, and the Job must remain to be admitted again. All other failures end the attempt;
    because a rule matches them, the Job records the exit code, which remains known after the pods are deleted.
    """
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return [
        {"action": "Ignore" if nodes == 1 else "FailJob", "onPodConditions": disrupted},
        {"action": "Ignore", "onExitCodes": _exit_codes("In")},
        {"action": "FailJob", "onExitCodes": _exit_codes("NotIn")},
    ]


def _exit_codes(operator: str) -> dict[str, Any]:
    return {"containerName": names.CONTAINER, "operator": operator, "values": [Interrupted.exit_code]}
