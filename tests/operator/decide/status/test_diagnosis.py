from typing import Any

import pytest

from dreambooth_operator.decide.status.diagnosis import Diagnosis, Running, diagnose
from dreambooth_operator.objects.names import LABEL_QUEUE
from tests.operator.pieces import at, ended, failed_pod, holding, job, moment, pod, running

EVICTED = holding("DisruptionTarget", reason="EvictionByEvictionAPI")


def diagnosis(
    *pods: dict[str, Any],
    now: float = 100,
    nodes: int = 1,
    of: dict[str, Any] | None = None,
    pod_creation_failure: str | None = None,
) -> Diagnosis:
    mount_failures = {"dog-0-7": "no such claim"}
    return diagnose(Running(0, of or job(), pods, nodes, mount_failures, pod_creation_failure, at(now)))


def word(*pods: dict[str, Any], **more: Any) -> tuple[str, str]:
    finding = diagnosis(*pods, **more).finding
    return finding.phase, finding.reason


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return pod("Pending", {"waiting": {"reason": reason, "message": message}}, **more)


def unschedulable(since: float = 0) -> dict[str, Any]:
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    return pod("Pending", started=None, conditions=[{**said, "lastTransitionTime": moment(since)}])


NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
UNBOUND = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
NONE_FITS = "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
NO_CLASS = 'storageclass.storage.k8s.io "fast" not found'


@pytest.mark.parametrize(
    ("message", "claims", "expected", "words"),
    [
        (UNBOUND, {"dog": NO_CLASS}, "ClaimUnbound", f"PersistentVolumeClaim dog has no volume: {NO_CLASS}."),
        (UNBOUND, {"cache": ""}, "ClaimUnbound", f"PersistentVolumeClaim cache has no volume: {UNBOUND}"),
        (NONE_FITS, {"dog": ""}, "ClaimUnbound", "PersistentVolumeClaim dog has no volume: 0/3 nodes"),
        (NO_GPU, {"dog": NO_CLASS}, "ClaimUnbound", NO_CLASS),
        (None, {"dog": NO_CLASS}, "ClaimUnbound", NO_CLASS),
        (NO_GPU, {"dog": ""}, "Unschedulable", "Insufficient nvidia.com/gpu"),
        (NO_GPU, {"of-another": NO_CLASS}, "Unschedulable", "Insufficient nvidia.com/gpu"),
        (UNBOUND, {}, "Unschedulable", UNBOUND),
        (None, {"dog": ""}, "Starting", "is starting its pods"),
    ],
)
def test_a_claim_without_a_volume_is_named(
    message: str | None, claims: dict[str, str], expected: str, words: str
) -> None:
    item = unschedulable()
    if message is None:
        del item["status"]["conditions"]
    else:
        item["status"]["conditions"][0]["message"] = message
    volumes = [{"persistentVolumeClaim": {"claimName": name}} for name in ("dog", "cache")]
    item["spec"] = {"volumes": [{"name": "tmp", "emptyDir": {}}, *volumes]}
    finding = diagnose(Running(0, job(), [item], 1, {}, None, at(100), unbound_claims=claims)).finding
    assert finding.reason == expected
    assert words in finding.message


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (job(spec={"suspend": True}), ("Queued", "HeldByHand")),
        (job(0, holding("FailureTarget")), ("Running", "Ending")),
        (job(0, holding("SuccessCriteriaMet")), ("Running", "Ending")),
    ],
)
def test_the_state_of_the_job_comes_first(of: dict[str, Any], expected: tuple[str, str]) -> None:
    assert word(pod("Running", running()), of=of) == expected


def test_a_suspended_job_with_a_queue_is_queued() -> None:
    queued = job(spec={"suspend": True})
    queued["metadata"]["labels"][LABEL_QUEUE] = "team"
    assert word(of=queued) == ("Queued", "Queued")


def test_a_job_without_pods_is_reported_after_the_grace_period() -> None:
    assert word(now=29) == ("Starting", "Starting")
    assert diagnosis(now=29).due == at(30)
    assert word(now=30) == ("Starting", "NoPods")
    resumed = job()
    resumed["status"]["startTime"] = moment(80)
    assert (word(of=resumed), diagnosis(of=resumed).due) == (("Starting", "Starting"), at(110))


@pytest.mark.parametrize(("pods", "nodes"), [([], 1), ([pod("Running", running())], 2), ([failed_pod(9)], 1)])
def test_pods_that_can_not_be_created_are_reported(pods: list[dict[str, Any]], nodes: int) -> None:
    said = 'pods "dog-0-0" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1'
    finding = diagnosis(*pods, nodes=nodes, pod_creation_failure=said).finding
    assert (finding.phase, finding.reason) == ("Pending", "QuotaExceeded")
    assert finding.message.startswith("A ResourceQuota of the namespace does not allow the pods of Job dog-0: pods")


def test_a_creation_failure_is_ignored_when_all_pods_exist() -> None:
    assert word(pod("Running", running()), pod_creation_failure="exceeded quota") == ("Running", "Training")


def test_a_job_that_lacks_pods_is_requeued_after_the_grace_period() -> None:
    half = pod("Running", running())
    assert diagnosis(half, nodes=2, now=10).due == at(30)
    assert diagnosis(half, nodes=2, now=30).due is None


def test_the_grace_period_starts_at_the_admission() -> None:
    admitted = job(0, holding("Suspended", 0), spec={"suspend": False})
    assert word(of=admitted, now=3600) == ("Starting", "Starting")
    assert diagnosis(of=admitted, now=3600).due == at(3630)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (pod("Pending", started=None), ("Starting", "Starting")),
        (pod("Running", running()), ("Running", "Training")),
        (pod("Running", ended(0)), ("Running", "Ending")),
        (pod("Running", ended(3)), ("Running", "Ending")),
        (failed_pod(9), ("Running", "Ending")),
        (failed_pod(137, conditions=[EVICTED]), ("Retrying", "Evicted")),
        (pod("Running", running(), conditions=[EVICTED]), ("Retrying", "Evicted")),
        (pod("Running", running(), left=71), ("Starting", "Stopping")),
        (pod("Running", running(), left=70), ("Starting", "NodeSilent")),
        (pod("Running", running(), left=70, conditions=[EVICTED]), ("Starting", "NodeSilent")),
        (unschedulable(since=71), ("Starting", "Starting")),
        (unschedulable(since=70), ("Pending", "Unschedulable")),
        (waiting("ErrImagePull"), ("Starting", "ImagePullFailed")),
        (waiting("CreateContainerConfigError"), ("Starting", "ContainerConfigError")),
        (waiting("RunContainerError"), ("Starting", "ContainerStartFailed")),
        (waiting("ContainerCreating", started=71), ("Starting", "Starting")),
        (waiting("ContainerCreating", started=70), ("Starting", "ContainerCreating")),
        (waiting("ContainerCreating", started=71, index=7), ("Starting", "Starting")),
        (waiting("ContainerCreating", started=70, index=7), ("Starting", "VolumeMountFailed")),
    ],
)
def test_problems_of_a_pod(one: dict[str, Any], expected: tuple[str, str]) -> None:
    assert word(one) == expected


@pytest.mark.parametrize(
    ("one", "due"),
    [
        (unschedulable(since=90), 120),
        (waiting("ContainerCreating", started=80), 110),
        (pod("Running", running(), left=300), 330),
        (pod("Running", running(), left=300, conditions=[EVICTED]), 330),
        (pod("Running", running()), None),
    ],
)
def test_when_the_finding_may_change_without_an_event(one: dict[str, Any], due: float | None) -> None:
    assert diagnosis(one).due == (None if due is None else at(due))


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([pod("Running", running())], "Starting"),
        ([pod("Running", running()), waiting("ContainerCreating", started=90, index=1)], "Starting"),
        ([waiting("ContainerCreating", started=90), waiting("ErrImagePull", index=1)], "ImagePullFailed"),
        ([pod("Running", running()), pod("Running", running(), index=1)], "Training"),
        ([pod("Running", running()), pod("Succeeded", ended(0), index=1)], "Training"),
        ([pod("Running", running()), pod("Running", ended(0), index=1)], "Training"),
        ([pod("Succeeded", ended(0)), pod("Running", ended(0), index=1)], "Ending"),
        ([failed_pod(9), pod("Running", running(), index=1)], "Starting"),
    ],
)
def test_pods_of_two_nodes(pods: list[dict[str, Any]], expected: str) -> None:
    assert word(*pods, nodes=2)[1] == expected


def test_the_newest_pod_explains_why_no_pod_runs() -> None:
    saved, evicted = failed_pod(9, created=50), failed_pod(137, created=0, conditions=[EVICTED])
    assert word(saved, evicted) == ("Running", "Ending")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "can't be pulled: ImagePullBackOff."),
        ('Back-off pulling image "trainer:1": ErrImagePull: not found', "can't be pulled: not found."),
        ("not found", "can't be pulled: not found."),
    ],
)
def test_a_failed_image_pull_has_the_same_message_at_each_attempt(message: str, words: str) -> None:
    one = waiting("ImagePullBackOff", message)
    one["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    assert "image trainer:1 of pod dog-0-0 " + words in diagnosis(one).finding.message


def test_the_message_contains_the_number_of_running_pods() -> None:
    assert diagnosis(pod("Running", running())).finding.message == "Attempt 0 is running in 1 pod."
    pods = [pod("Running", running(), index=index) for index in (0, 1)]
    assert diagnosis(*pods, nodes=2).finding.message == "Attempt 0 is running in 2 pods."


def test_an_attempt_with_rejected_progress_is_running() -> None:
    of, pods = job(), [pod("Running", running())]
    finding = diagnose(Running(0, of, pods, 1, {}, None, at(100), "it is not JSON.")).finding
    assert (finding.phase, finding.reason) == ("Running", "ProgressRefused")
    assert "it is not JSON." in finding.message
    starting = diagnose(Running(0, of, pods, 2, {}, None, at(100), "it is not JSON.")).finding
    assert starting.reason == "Starting"
