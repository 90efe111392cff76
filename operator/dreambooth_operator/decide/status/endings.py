"""Determines how an attempt ended from its Job and pods: the class of failure, or the disruption."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from dreambooth_api.failures import Interrupted, StorageFull
from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.termination_message import (
    CLASSES,
    COMPLETED,
    INTERNAL_ERROR,
    TerminationMessage,
    termination_message_of,
)
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    condition_of,
    container_of,
    finished_at,
    index_of,
    is_being_deleted,
    name_of,
    state_of,
    time_of,
)

KILLED = "Killed"
INTERRUPTED = "Interrupted"
POD_FAILED = "PodFailed"
STORAGE_FULL = StorageFull.__name__
STALLED = "Stalled"
STOPPED_UNEXPECTEDLY = "StoppedUnexpectedly"
"""End of an attempt whose trainer stopped as after SIGTERM, although Kubernetes did not stop it."""
UNEXPLAINED_STOPS = 3
"""Number of unexplained stops of one index after which its pod is not replaced any more. A few are tolerated, because the reboot
of a node without graceful shutdown leaves no other trace."""
SIGNALLED = {137, 143}
"""Exit codes of a process that was terminated by SIGKILL or SIGTERM."""
CONSEQUENCES = {"CommunicationFailure", INTERRUPTED, KILLED}
"""Classes of failure that may be the consequence of a failure of another pod."""


class Ending(NamedTuple):
    """The end of an attempt."""

    reason: str
    """`Completed`, a class of failure, or a disruption of `reasons.py`."""
    message: str
    """What happened and what to do."""
    time: datetime | None
    """Time of the end."""
    exit_code: int | None = None
    """Exit code of the pod that caused the end."""
    disruption: bool = False
    """Whether the cluster or a user removed the pod."""
    termination_message: TerminationMessage | None = None
    """Termination message of the trainer."""


def ending_of(job: Object, pods: Sequence[Object]) -> Ending | None:
    """The end of an attempt; None while it is running.

    An attempt also ends while the Job replaces a pod: if the pod failed for a reason that counts, or stopped too often.

    Args:
        job: its Job.
        pods: the pods of the Job that still exist.
    """
    if complete := condition_of(job, "Complete"):
        main = next((pod for pod in pods if index_of(pod) == "0" and _exit_code(pod) == 0), None)
        termination = termination_message_of(main) if main else None
        message = termination.message if termination else ""
        time = time_of(complete.get("lastTransitionTime"))
        return Ending(COMPLETED, message, time, 0, termination_message=termination)
    if failed := condition_of(job, "Failed"):
        time = time_of(failed.get("lastTransitionTime"))
        ends = [ending_of_pod(pod) for pod in _newest(pods) if _has_failed(pod)]
        ending = min(ends, key=_consequence, default=None) or _by_the_job(str(failed.get("message", "")))
        return _explained(ending, 1)._replace(time=time or ending.time)
    return _end_despite_replacement(pods)


def _end_despite_replacement(pods: Sequence[Object]) -> Ending | None:
    """The end of an attempt whose Job has not failed, because it ignores the exit code of `Interrupted`."""
    ignored = [pod for pod in pods if _has_failed(pod) and _exit_code(pod) == Interrupted.exit_code]
    ends = [(pod, ending_of_pod(pod)) for pod in ignored]
    newest = {id(pod) for pod in _newest(pods)}
    counted = [end for pod, end in ends if id(pod) in newest and not end.disruption and end.reason != INTERRUPTED]
    if counted:
        return min(counted, key=_consequence)
    unexplained = [(index_of(pod), end) for pod, end in ends if not end.disruption and end.reason == INTERRUPTED]
    stops = Counter(index for index, _ in unexplained)
    index, number = max(stops.items(), key=lambda entry: entry[1], default=(None, 0))
    if number <= UNEXPLAINED_STOPS:
        return None
    last = max((end for place, end in unexplained if place == index), key=lambda end: str(end.time))
    return _explained(last, number)


def _explained(ending: Ending, stops: int) -> Ending:
    """The end of an attempt; if nothing explains why its trainer stopped, it is a failure that counts."""
    if ending.reason != INTERRUPTED or ending.disruption:
        return ending
    pods = "1 pod" if stops == 1 else f"{stops} pods"
    message = reasons.STOPPED_UNEXPECTEDLY.format(pods=pods, detail=reasons.sentence(ending.message)).strip()
    return ending._replace(reason=STOPPED_UNEXPECTEDLY, message=message)


def _has_failed(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Failed")


def _newest(pods: Sequence[Object]) -> list[Object]:
    """The newest pod of each index. Evicted pods still exist after they are replaced, but they did not end the attempt."""
    by_age = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    return list({index_of(pod) or name_of(pod): pod for pod in by_age}.values())


def ending_of_pod(pod: Object) -> Ending:
    """The end of one failed pod, by the first rule that matches."""
    return next(ending for rule in _RULES if (ending := rule(pod)) is not None)


def _out_of_memory(pod: Object) -> Ending | None:
    terminated = state_of(pod, "terminated") or {}
    if terminated.get("reason") != "OOMKilled":
        return None
    limits = container_of(pod).get("resources", {}).get("limits", {})
    message = reasons.OUT_OF_MEMORY.format(memory=limits.get("memory", "memory"))
    return Ending(
        "OutOfMemory", message, finished_at(pod), _exit_code(pod), termination_message=termination_message_of(pod)
    )


def _reported_cause(pod: Object) -> Ending | None:
    """The failure that the trainer reported, unless it may be a consequence of another failure."""
    ending = _reported_failure(pod)
    return ending if ending and ending.reason not in CONSEQUENCES else None


def _storage_eviction(pod: Object) -> Ending | None:
    """A pod that the kubelet evicted because it exceeded its own limits of storage.

    If the node was under pressure, a pod that ran also has the condition DisruptionTarget, and the message about a pod that the
    node rejected names the condition of the node.
    """
    detail = str(pod["status"].get("message") or "")
    own_limit = pod["status"].get("reason") == "Evicted" and "node had condition" not in detail
    if not own_limit or condition_of(pod, "DisruptionTarget"):
        return None
    message = reasons.STORAGE_EXCEEDED.format(pod=name_of(pod), detail=reasons.sentence(detail))
    termination = termination_message_of(pod)
    return Ending(STORAGE_FULL, message, finished_at(pod), _exit_code(pod), termination_message=termination)


def _disruption(pod: Object) -> Ending | None:
    found = disruption_of(pod)
    if found is None:
        return None
    return Ending(found.reason, found.message, finished_at(pod), _exit_code(pod), True, termination_message_of(pod))


def _deletion(pod: Object) -> Ending | None:
    """A pod that was deleted by a user, or by the Job controller after Kueue evicted the workload."""
    terminated = state_of(pod, "terminated") or {}
    if not is_being_deleted(pod):
        return None
    unknown = terminated.get("reason") == "ContainerStatusUnknown" and terminated.get("startedAt") is None
    # The pod garbage collector sets no reason when it fails a pod without a node; a node that rejects a pod sets one.
    collected = not terminated and not pod["status"].get("reason")
    if unknown or collected:
        message = reasons.NEVER_RAN.format(pod=name_of(pod))
        return Ending(INTERRUPTED, message, finished_at(pod), None, True)
    if terminated.get("exitCode") in {*SIGNALLED, Interrupted.exit_code}:
        message = reasons.DELETED.format(pod=name_of(pod))
        return Ending(INTERRUPTED, message, finished_at(pod), _exit_code(pod), True, termination_message_of(pod))
    return None


def _reported_failure(pod: Object) -> Ending | None:
    termination, code = termination_message_of(pod), _exit_code(pod)
    if termination is None or termination.reason == COMPLETED:
        return None
    message = termination.message or reasons.NO_MESSAGE.format(code=code, pod=name_of(pod))
    return Ending(termination.reason, message, finished_at(pod), code, termination_message=termination)


def _rejection(pod: Object) -> Ending | None:
    """A pod that its node rejected: the resources were not free as the scheduler assumed."""
    if _exit_code(pod) is not None:
        return None
    detail = reasons.sentence(pod["status"].get("message") or pod["status"].get("reason") or "no reason given")
    return Ending(POD_FAILED, reasons.REJECTED.format(pod=name_of(pod), detail=detail), None)


def _by_exit_code(pod: Object) -> Ending:
    """The end by the exit code; the message is the end of the log, if there is one."""
    code = _exit_code(pod)
    log = reasons.clean((state_of(pod, "terminated") or {}).get("message") or "")
    if code in SIGNALLED:
        message = f"{reasons.KILLED.format(code=code)} {log}".strip()
    else:
        message = log or reasons.NO_MESSAGE.format(code=code, pod=name_of(pod))
    return Ending(_class_of(code), message, finished_at(pod), code)


_RULES: Sequence[Callable[[Object], Ending | None]] = (
    _out_of_memory,
    _reported_cause,
    _storage_eviction,
    _disruption,
    _deletion,
    _reported_failure,
    _rejection,
    _by_exit_code,
)


def disruption_of(pod: Object) -> reasons.Finding | None:
    """The disruption of a pod, from its condition DisruptionTarget; None if there is none."""
    target = condition_of(pod, "DisruptionTarget")
    if target is None:
        return None
    reason = str(target.get("reason", ""))
    detail = pod.get("status", {}).get("message") or target.get("message") or reason
    return reasons.DISRUPTIONS.get(reason, reasons.DISRUPTED)(pod=name_of(pod), detail=detail)


def _by_the_job(message: str) -> Ending:
    """The end by the message of the Job, if the pods no longer exist."""
    text = reasons.POD_GONE.format(detail=reasons.sentence(message))
    if "DisruptionTarget" in message:
        return Ending(reasons.DISRUPTED.reason, text, None, None, True)
    found = re.search(r"failed with exit code (\d{1,3})\b", message)
    code = int(found[1]) if found else None
    return Ending(_class_of(code), text, None, code)


def _class_of(code: int | None) -> str:
    by_code = {code: name for name, code in CLASSES.items()}
    return KILLED if code in SIGNALLED or code is None else by_code.get(code, INTERNAL_ERROR)


def _consequence(ending: Ending) -> tuple[bool, str]:
    """Sort key: causes before possible consequences, then by time."""
    return ending.reason in CONSEQUENCES, ending.time.isoformat() if ending.time else ""


def _exit_code(pod: Object) -> int | None:
    code = (state_of(pod, "terminated") or {}).get("exitCode")
    return code if isinstance(code, int) else None
