import json
from typing import Any

import pytest

from dreambooth_operator.decide.status.endings import Ending, ending_of, ending_of_pod
from tests.operator.pieces import at, ended, failed_pod, holding, job, pod


def said(reason: str, message: str = "reported") -> str:
    return json.dumps({"reason": reason, "message": message, "step": 3})


PRESSURE = holding("DisruptionTarget", reason="TerminationByKubelet", message="The node was low on resource: memory.")
# Messages of the kubelet; its version 1.34 sets no condition DisruptionTarget when a pod exceeds its own limits.
OWN_LIMITS = (
    'Usage of EmptyDir volume "shared-memory" exceeds the limit "2Gi". ',
    "Pod ephemeral local storage usage exceeds the total limit of containers 10Gi. ",
    'Container trainer exceeded its local ephemeral storage limit "10Gi". ',
)


def evicted(**more: Any) -> dict[str, Any]:
    status = {"reason": "Evicted", "message": "The node was low on memory.", "conditions": [PRESSURE]}
    return pod("Failed", ended(137, after=10), **status, **more)


def evicted_for_its_limits(
    code: int = 137, message: str = OWN_LIMITS[0], said: str = "", **more: Any
) -> dict[str, Any]:
    return pod("Failed", ended(code, said, after=10), reason="Evicted", message=message, **more)


LOST = holding("DisruptionTarget", reason="DeletionByPodGC", message="no node")


def failed(*pods: dict[str, Any], message: str = "") -> Ending:
    ending = ending_of(job(0, holding("Failed", 90, message=message)), pods)
    assert ending is not None
    return ending


def test_an_attempt_has_no_end_until_its_job_ends() -> None:
    waiting = {"type": "Failed", "status": "False"}
    assert ending_of(job(0, waiting, holding("FailureTarget")), [failed_pod(2)]) is None


def test_a_complete_job_has_the_termination_message_of_its_main_pod() -> None:
    pods = [
        pod("Succeeded", ended(0, said("Completed", "second")), index=1),
        pod("Succeeded", ended(0, said("Completed", "main"))),
    ]
    ending = ending_of(job(0, holding("Complete", 90)), pods)
    assert ending is not None and ending.termination_message is not None
    assert ending[:5] == ("Completed", "main", at(90), 0, False)
    assert ending_of(job(0, holding("Complete", 90)), []) == Ending("Completed", "", at(90), 0)


@pytest.mark.parametrize(
    ("one", "reason", "disruption"),
    [
        (failed_pod(137, reason="OOMKilled"), "OutOfMemory", False),
        (failed_pod(9, said("Interrupted"), reason="OOMKilled", conditions=[LOST]), "OutOfMemory", False),
        (failed_pod(6, said("NonFiniteLoss"), conditions=[LOST]), "NonFiniteLoss", False),
        (failed_pod(9, said("Interrupted"), conditions=[LOST]), "NodeLost", True),
        (failed_pod(8, said("CommunicationFailure"), conditions=[LOST]), "NodeLost", True),
        (pod("Failed", conditions=[LOST]), "NodeLost", True),
        (pod("Failed", conditions=[holding("DisruptionTarget", reason="Whim")]), "Disrupted", True),
        (evicted(), "Evicted", True),
        *((evicted_for_its_limits(message=message), "StorageFull", False) for message in OWN_LIMITS),
        (evicted_for_its_limits(9, said=said("Interrupted")), "StorageFull", False),
        (evicted_for_its_limits(left=60), "StorageFull", False),
        (pod("Failed", reason="Evicted", message=OWN_LIMITS[0]), "StorageFull", False),
        (
            pod("Failed", reason="Evicted", message="Pod was rejected: The node had condition: [DiskPressure]. "),
            "PodFailed",
            False,
        ),
        (failed_pod(137, reason="ContainerStatusUnknown"), "Killed", False),
        (failed_pod(9, left=60), "Interrupted", True),
        (failed_pod(137, left=60), "Interrupted", True),
        (failed_pod(143, left=60), "Interrupted", True),
        (failed_pod(1, left=60), "InternalError", False),
        (pod("Failed", left=60), "Interrupted", True),
        (pod("Failed", left=60, started=None), "Interrupted", True),
        (pod("Failed", left=60, reason="OutOfcpu"), "PodFailed", False),
        (pod("Failed", reason="UnexpectedAdmissionError"), "PodFailed", False),
        (failed_pod(8, said("CommunicationFailure")), "CommunicationFailure", False),
        (failed_pod(1, said("InternalError")), "InternalError", False),
        (failed_pod(3), "InvalidData", False),
        (failed_pod(9), "Interrupted", False),
        (failed_pod(137), "Killed", False),
        (failed_pod(134), "InternalError", False),
        (failed_pod(1, said("Completed")), "InternalError", False),
    ],
)
def test_the_class_of_a_failed_pod(one: dict[str, Any], reason: str, disruption: bool) -> None:
    ending = ending_of_pod(one)
    assert (ending.reason, ending.disruption) == (reason, disruption)
    assert ending.message


def test_a_container_that_never_ran_was_deleted_and_not_killed() -> None:
    one = failed_pod(137, reason="ContainerStatusUnknown", left=60)
    one["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"] = None
    assert ending_of_pod(one)[:5] == (
        "Interrupted",
        "Pod dog-0-0 was deleted before its container ran.",
        at(60),
        None,
        True,
    )


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (failed_pod(137, reason="OOMKilled"), "memory limit of 16Gi"),
        (failed_pod(1, "Traceback\nKeyError: 'x'"), "Traceback KeyError: 'x'"),
        (failed_pod(137, "step 12"), "The trainer was killed (exit code 137). step 12"),
        (failed_pod(77), "kubectl logs dog-0-0"),
        (failed_pod(8, said("CommunicationFailure", "")), "code 8 without a termination message"),
        (pod("Failed", reason="OutOfcpu", message="Node didn't have enough cpu"), "enough cpu. See kubectl describe"),
        (evicted(), "was evicted: The node was low on memory."),
        (
            evicted_for_its_limits(),
            'was evicted: Usage of EmptyDir volume "shared-memory" exceeds the limit "2Gi". Increase',
        ),
    ],
)
def test_the_message_says_what_happened(one: dict[str, Any], words: str) -> None:
    assert words in ending_of_pod(one).message


def test_the_trainers_container_may_have_any_position() -> None:
    one = failed_pod(137, reason="OOMKilled")
    one["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    assert "memory limit of 16Gi" in ending_of_pod(one).message


@pytest.mark.parametrize(
    "consequence",
    [failed_pod(8, said("CommunicationFailure"), 10), failed_pod(9, after=10), failed_pod(137, after=10)],
)
def test_the_cause_has_precedence_over_its_consequences(consequence: dict[str, Any]) -> None:
    cause = failed_pod(6, said("NonFiniteLoss", "nan"), 20, index=1)
    assert failed(consequence, cause)[:4] == ("NonFiniteLoss", "nan", at(90), 6)


def test_the_first_of_several_causes_has_precedence() -> None:
    assert failed(failed_pod(1, after=20), failed_pod(3, after=10, index=1)).reason == "InvalidData"


@pytest.mark.parametrize("stopped", [pod("Failed", left=60, index=1), failed_pod(137, after=5, left=60, index=1)])
def test_pods_that_were_stopped_after_a_failure_are_not_its_cause(stopped: dict[str, Any]) -> None:
    assert failed(stopped, failed_pod(2, said("InvalidConfig"))).reason == "InvalidConfig"


@pytest.mark.parametrize(("code", "reason"), [(6, "NonFiniteLoss"), (8, "CommunicationFailure"), (137, "Killed")])
def test_a_replaced_pod_is_ignored(code: int, reason: str) -> None:
    later = failed_pod(code, after=500, created=20)
    for pods in ([evicted(), later], [later, evicted()]):
        assert (failed(*pods).reason, failed(*pods).disruption) == (reason, False)


def test_an_evicted_pod_ends_the_attempt_although_the_job_ignores_its_exit_code() -> None:
    one = evicted_for_its_limits(9, said=said("Interrupted"))
    ending = ending_of(job(), [one])
    assert ending is not None and (ending.reason, ending.exit_code, ending.disruption) == ("StorageFull", 9, False)
    assert ending_of(job(), [one, pod(created=20)]) is None, "it was replaced while no operator was running"


def test_stops_that_nothing_explains_end_the_attempt_if_they_are_repeated() -> None:
    stopped = [failed_pod(9, said("Interrupted"), created=number, after=number) for number in range(4)]
    explained = [
        failed_pod(9, created=9, left=60),
        failed_pod(9, created=9, conditions=[LOST]),
        failed_pod(9, created=9, index=1),
    ]
    assert ending_of(job(), [*stopped[:3], *explained]) is None
    ending = ending_of(job(), [*stopped, *explained])
    assert ending is not None
    assert ending[2:5] == (at(3), 9, False)
    assert ending.reason == "StoppedUnexpectedly"
    assert "exit code 9 in 4 pods" in ending.message and ending.message.endswith("reported.")


def test_a_stop_that_nothing_explains_counts_if_the_job_fails() -> None:
    """Another pod of several nodes lost its peer, and its exit code fails the Job."""
    ending = failed(failed_pod(9, said("Interrupted"), 10), failed_pod(8, said("CommunicationFailure"), 12, index=1))
    assert (ending.reason, ending.disruption) == ("StoppedUnexpectedly", False)
    assert "exit code 9 in 1 pod," in ending.message
    deleted = failed(failed_pod(9, after=10, left=60), failed_pod(8, said("CommunicationFailure"), 12, index=1))
    assert (deleted.reason, deleted.disruption) == ("Interrupted", True)


@pytest.mark.parametrize(
    ("message", "reason", "code", "disruption"),
    [
        ("Container trainer for pod space/dog failed with exit code 3 matching FailJob rule", "InvalidData", 3, False),
        ("Container trainer for pod space/dog failed with exit code 77 matching", "InternalError", 77, False),
        ("Container trainer for pod space/dog failed with exit code 137 matching", "Killed", 137, False),
        ("Pod space/dog has condition DisruptionTarget matching FailJob rule", "Disrupted", None, True),
        ("Job has reached the specified backoff limit", "Killed", None, False),
    ],
)
def test_without_pods_the_message_of_the_job_is_used(
    message: str, reason: str, code: int | None, disruption: bool
) -> None:
    ending = failed(message=message)
    assert (ending.reason, ending.exit_code, ending.disruption, ending.time) == (reason, code, disruption, at(90))
    assert message in ending.message
