"""How an attempt ended, from its Job and its pods: the class of failure, or how the cluster took it away."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from dreambooth_operator.decide.status import reasons
from dreambooth_operator.decide.status.termination_message import (
    CLASSES,
    COMPLETED,
    INTERNAL_ERROR,
    LastWord,
    last_word,
)
from dreambooth_operator.objects.names import LABEL_INDEX
from dreambooth_operator.objects.observed import Object
from dreambooth_operator.objects.reading import (
    condition_of,
    container_of,
    finished_at,
    is_being_deleted,
    name_of,
    state_of,
    time_of,
)

KILLED = "Killed"
INTERRUPTED = "Interrupted"
POD_FAILED = "PodFailed"
SIGNALLED = {137, 143}
"""Exit codes of a process that SIGKILL or SIGTERM ended."""
CONSEQUENCES = {"CommunicationFailure", INTERRUPTED, KILLED}
"""Classes that may well have come of what happened to another pod."""


class Ending(NamedTuple):
    """The end of an attempt."""

    reason: str
    """`Completed`, a class of failure, or a disruption of `reasons.py`."""
    message: str
    """What happened and what to do."""
    time: datetime | None
    """When."""
    exit_code: int | None = None
    """Exit code of the pod that decided it."""
    disruption: bool = False
    """Whether the cluster or a person took the pod away."""
    word: LastWord | None = None
    """What the trainer said."""


def ending_of(job: Object, pods: Sequence[Object]) -> Ending | None:
    """How an attempt ended; None while it goes on.

    Args:
        job: its Job.
        pods: the pods of that Job, as far as they are still there.
    """
    if complete := condition_of(job, "Complete"):
        main = next((pod for pod in pods if _index(pod) == "0" and _exit_code(pod) == 0), None)
        word = last_word(main) if main else None
        return Ending(
            COMPLETED, word.message if word else "", time_of(complete.get("lastTransitionTime")), 0, word=word
        )
    if failed := condition_of(job, "Failed"):
        time = time_of(failed.get("lastTransitionTime"))
        ends = [ending_of_pod(pod) for pod in _newest(pods) if pod.get("status", {}).get("phase") == "Failed"]
        ending = min(ends, key=_consequence, default=None) or _by_the_job(str(failed.get("message", "")))
        return ending._replace(time=time or ending.time)
    return None


def _newest(pods: Sequence[Object]) -> list[Object]:
    """The last pod of each index: those that it replaced (evicted ones stay visible) did not end the attempt."""
    by_age = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    return list({_index(pod) or name_of(pod): pod for pod in by_age}.values())


def ending_of_pod(pod: Object) -> Ending:
    """How one failed pod ended, asked by one rule after the other until one knows."""
    return next(ending for rule in _RULES if (ending := rule(pod)) is not None)


def _out_of_memory(pod: Object) -> Ending | None:
    terminated = state_of(pod, "terminated") or {}
    if terminated.get("reason") != "OOMKilled":
        return None
    limits = container_of(pod).get("resources", {}).get("limits", {})
    message = reasons.OUT_OF_MEMORY.format(memory=limits.get("memory", "memory"))
    return Ending("OutOfMemory", message, finished_at(pod), _exit_code(pod), word=last_word(pod))


def _trainers_fault(pod: Object) -> Ending | None:
    """What the trainer itself says, where it is no mere consequence of something else."""
    ending = _trainers_word(pod)
    return ending if ending and ending.reason not in CONSEQUENCES else None


def _disruption(pod: Object) -> Ending | None:
    found = disruption_of(pod)
    if found is None:
        return None
    return Ending(found.word, found.message, finished_at(pod), _exit_code(pod), True, last_word(pod))


def _deletion(pod: Object) -> Ending | None:
    """A pod that somebody deleted, or the Job's controller when Kueue took the admission back."""
    terminated = state_of(pod, "terminated") or {}
    unknown = terminated.get("reason") == "ContainerStatusUnknown" and terminated.get("startedAt") is None
    # Without a node, Kubernetes' collector of pods ends it and says nothing; a node that does not take a pod says why.
    unheard = is_being_deleted(pod) and not terminated and not pod["status"].get("reason")
    if unknown or unheard:
        message = reasons.NEVER_RAN.format(pod=name_of(pod))
        return Ending(INTERRUPTED, message, finished_at(pod), None, True)
    if is_being_deleted(pod) and terminated.get("exitCode") in SIGNALLED:
        message = reasons.DELETED.format(pod=name_of(pod))
        return Ending(INTERRUPTED, message, finished_at(pod), _exit_code(pod), True)
    return None


def _trainers_word(pod: Object) -> Ending | None:
    word, code = last_word(pod), _exit_code(pod)
    if word is None or word.reason == COMPLETED:
        return None
    message = word.message or reasons.NO_WORD.format(code=code, pod=name_of(pod))
    return Ending(word.reason, message, finished_at(pod), code, word=word)


def _rejection(pod: Object) -> Ending | None:
    """A pod that its node did not take: what the scheduler believed to be free was not."""
    if _exit_code(pod) is not None:
        return None
    detail = reasons.sentence(pod["status"].get("message") or pod["status"].get("reason") or "it does not say why")
    return Ending(POD_FAILED, reasons.REJECTED.format(pod=name_of(pod), detail=detail), None)


def _by_exit_code(pod: Object) -> Ending:
    """By the exit code alone; the message is then the end of the log, as far as there is one."""
    code = _exit_code(pod)
    log = reasons.clean((state_of(pod, "terminated") or {}).get("message") or "")
    if code in SIGNALLED:
        said = f"{reasons.KILLED.format(code=code)} {log}".strip()
    else:
        said = log or reasons.NO_WORD.format(code=code, pod=name_of(pod))
    return Ending(_class_of(code), said, finished_at(pod), code)


_RULES: Sequence[Callable[[Object], Ending | None]] = (
    _out_of_memory,
    _trainers_fault,
    _disruption,
    _deletion,
    _trainers_word,
    _rejection,
    _by_exit_code,
)


def disruption_of(pod: Object) -> reasons.Finding | None:
    """How the cluster took, or is taking, a pod away (its condition DisruptionTarget, or an eviction by the kubelet)."""
    target = condition_of(pod, "DisruptionTarget")
    status = pod.get("status", {})
    if target is None and status.get("reason") != "Evicted":
        return None
    word = str((target or {}).get("reason", "TerminationByKubelet"))
    detail = status.get("message") or (target or {}).get("message") or word
    return reasons.DISRUPTIONS.get(word, reasons.DISRUPTED)(pod=name_of(pod), detail=detail)


def _by_the_job(message: str) -> Ending:
    """From the words of the Job's controller, when the pods are gone."""
    said = reasons.POD_GONE.format(detail=reasons.sentence(message))
    if "DisruptionTarget" in message:
        return Ending(reasons.DISRUPTED.word, said, None, None, True)
    found = re.search(r"failed with exit code (\d{1,3})\b", message)
    code = int(found[1]) if found else None
    return Ending(_class_of(code), said, None, code)


def _class_of(code: int | None) -> str:
    by_code = {code: name for name, code in CLASSES.items()}
    return KILLED if code in SIGNALLED or code is None else by_code.get(code, INTERNAL_ERROR)


def _consequence(ending: Ending) -> tuple[bool, str]:
    """Sorts what may be a consequence behind its cause, and what came first before what came later."""
    return ending.reason in CONSEQUENCES, ending.time.isoformat() if ending.time else ""


def _exit_code(pod: Object) -> int | None:
    code = (state_of(pod, "terminated") or {}).get("exitCode")
    return code if isinstance(code, int) else None


def _index(pod: Object) -> str | None:
    index: str | None = pod["metadata"].get("labels", {}).get(LABEL_INDEX)
    return index
