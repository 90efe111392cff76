"""The story of a job, chapter by chapter, against a fake of the rest of Kubernetes."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest

from dreambooth_operator import names
from dreambooth_operator.observed import Plan, Reference
from dreambooth_operator.reconcile import reconcile, references
from tests.operator.fake_cluster import MINIMAL, PHOTOS, SETTINGS, FakeCluster, condition
from tests.operator.test_snapshots import told

CLAIM = "PersistentVolumeClaim"
DONE = json.dumps({"reason": "Completed", "exitCode": 0, "message": "done", "step": 400, "result": {"subj": 0.8}})


def spec(**more: Any) -> dict[str, Any]:
    return {**MINIMAL, **more}


TWO_NODES = spec(resources={"nodes": 2})
QUEUED = spec(scheduling={"queueName": "team"})


def running(content: Mapping[str, Any] | None = None) -> FakeCluster:
    """A cluster whose DreamBoothJob trains."""
    cluster = FakeCluster(content)
    cluster.settle()
    cluster.run()
    cluster.settle()
    return cluster


def reason(plan: Plan) -> tuple[str, str]:
    """Phase and reason of a plan."""
    found = condition(plan.status, "Running")
    assert found is not None
    return plan.status["phase"], found["reason"]


# The beginning.


def test_a_new_job_gets_its_config_its_claim_and_its_first_attempt() -> None:
    plan = FakeCluster().decide()
    assert [item["kind"] for item in plan.apply] == ["ConfigMap", "NetworkPolicy"]
    assert [(item["kind"], item["metadata"]["name"]) for item in plan.create] == [(CLAIM, "dog"), ("Job", "dog-0")]
    assert reason(plan) == ("Starting", "Starting")
    assert plan.status["attempts"] == [{"number": 0, "jobName": "dog-0", "disruption": False}]
    assert [event.reason for event in plan.events] == ["Starting"]


def test_several_nodes_get_a_service() -> None:
    assert [item["kind"] for item in FakeCluster(TWO_NODES).decide().apply] == ["ConfigMap", "Service", "NetworkPolicy"]


@pytest.mark.parametrize("kept", [{}, {"metadata": {"uid": "old", "ownerReferences": []}}])
def test_a_claim_that_exists_is_taken_as_it_is(kept: dict[str, Any]) -> None:
    cluster = FakeCluster()
    cluster.add(CLAIM, "dog", **kept)
    assert [item["kind"] for item in cluster.decide().create] == ["Job"]


def test_a_running_job_needs_no_look_at_anything_else() -> None:
    cluster = running()
    assert references(cluster.observe(), cluster.now, cluster.settings) == set()
    plan = cluster.decide()
    assert [*plan.apply, *plan.create, *plan.delete, *plan.events] == []
    assert reason(plan) == ("Running", "Training")


def missing_photos(cluster: FakeCluster) -> None:
    del cluster.objects[Reference("ConfigMap", PHOTOS)]


def missing_claim(cluster: FakeCluster) -> None:
    cluster.job["spec"]["volumes"] = {"output": {"claimName": "shelf"}}


def lost_claim(cluster: FakeCluster) -> None:
    cluster.job["spec"]["volumes"] = {"output": {"claimName": "shelf"}}
    cluster.add(CLAIM, "shelf", status={"phase": "Lost"})


def leaving_claim(cluster: FakeCluster) -> None:
    cluster.add(CLAIM, "dog")["metadata"]["deletionTimestamp"] = "2026-01-02T03:00:00Z"


def foreign_config(cluster: FakeCluster) -> None:
    cluster.add("ConfigMap", "dog-config")


def claim_of_an_earlier_job(cluster: FakeCluster) -> None:
    owner = {"kind": "DreamBoothJob", "name": "dog", "uid": "earlier", "controller": True}
    cluster.add(CLAIM, "dog")["metadata"]["ownerReferences"] = [owner]


def job_of_an_earlier_job(cluster: FakeCluster) -> None:
    owner = {"uid": "earlier", "controller": True}
    cluster.add("Job", "dog-0")["metadata"] |= {"labels": {names.LABEL_JOB: "dog"}, "ownerReferences": [owner]}


def job_of_somebody_else(cluster: FakeCluster) -> None:
    cluster.add("Job", "dog-0")


def job_of_a_cron_job(cluster: FakeCluster) -> None:
    owner = {"kind": "CronJob", "name": "dog", "uid": "cron", "controller": True}
    cluster.add("Job", "dog-0")["metadata"]["ownerReferences"] = [owner]


@pytest.mark.parametrize(
    ("arrange", "expected", "named"),
    [
        (missing_photos, "ConfigMapNotFound", "ConfigMap photos, which spec.subject.images.configMap.name"),
        (missing_claim, "ClaimNotFound", "PersistentVolumeClaim shelf, which spec.volumes.output.claimName"),
        (lost_claim, "ClaimLost", "shelf"),
        (leaving_claim, "BeingDeleted", "PersistentVolumeClaim dog"),
        (foreign_config, "NameTaken", "ConfigMap dog-config belongs to somebody else"),
        (claim_of_an_earlier_job, "BeingDeleted", "PersistentVolumeClaim dog"),
        (job_of_an_earlier_job, "WaitingForLeftovers", "Job dog-0"),
        (job_of_somebody_else, "NameTaken", "Job dog-0 belongs to somebody else"),
        (job_of_a_cron_job, "NameTaken", "Job dog-0 belongs to CronJob dog"),
    ],
)
def test_nothing_starts_while_something_is_missing_or_in_the_way(
    arrange: Callable[[FakeCluster], None], expected: str, named: str
) -> None:
    cluster = FakeCluster()
    arrange(cluster)
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", expected)
    assert named in plan.status["message"]
    assert [*plan.apply, *plan.create] == []
    assert plan.again_after == 15
    assert [event.reason for event in plan.events] == [expected]
    assert cluster.reconcile().events == []


def test_what_was_missing_is_awaited() -> None:
    cluster = FakeCluster()
    missing_photos(cluster)
    cluster.settle()
    cluster.add("ConfigMap", PHOTOS)
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_a_job_of_somebody_else_may_stand_in_the_way_of_any_attempt() -> None:
    cluster = FakeCluster()
    cluster.fail_attempt()
    cluster.add("Job", "dog-1")
    cluster.settle()
    cluster.later(10)
    assert reason(cluster.settle()) == ("Pending", "NameTaken")
    del cluster.objects[Reference("Job", "dog-1")]
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_a_job_of_somebody_else_that_came_just_before_ours_is_told_at_the_next_look() -> None:
    cluster = FakeCluster()
    plan = cluster.decide()
    cluster.add("Job", "dog-0")
    cluster.carry_out(plan)
    assert reason(cluster.settle()) == ("Pending", "NameTaken")
    del cluster.objects[Reference("Job", "dog-0")]
    assert reason(cluster.settle()) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0"]


def test_a_pod_of_an_earlier_job_of_the_name_may_still_write() -> None:
    cluster = running()
    (pod,) = cluster.alive()
    del cluster.objects[Reference("Job", "dog-0")]
    cluster.job["metadata"]["uid"] = "another"
    cluster.job.pop("status")
    assert reason(cluster.settle()) == ("Pending", "WaitingForLeftovers")
    cluster.end(pod, 9)
    assert reason(cluster.settle()) == ("Pending", "BeingDeleted")
    del cluster.objects[Reference("ConfigMap", "dog-config")], cluster.objects[Reference("NetworkPolicy", "dog")]
    assert reason(cluster.settle()) == ("Starting", "Starting")


def test_what_the_api_server_refuses_is_told_and_tried_again() -> None:
    cluster = FakeCluster()
    cluster.refusals[Reference("Job", "dog-0")] = "exceeded quota: jobs"
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", "QuotaExceeded")
    assert "Job dog-0: exceeded quota: jobs." in plan.status["message"]
    assert (plan.create[-1]["metadata"]["name"], plan.again_after) == ("dog-0", 30)
    cluster.refusals.clear()
    assert reason(cluster.settle()) == ("Starting", "Starting")


# The spec.


def test_an_unsound_spec_fails_at_once_and_for_good() -> None:
    cluster = FakeCluster(spec(training={"steps": "many"}))
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert "spec.training.steps: 'many'" in plan.status["message"]
    assert [*plan.apply, *plan.create] == []
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and (accepted["status"], accepted["reason"]) == ("False", "InvalidConfig")
    cluster.job["spec"] = spec()
    assert reason(cluster.reconcile()) == ("Failed", "InvalidConfig")


@pytest.mark.parametrize("content", [None, [], {}, {"subject": 3}, {"resources": {"nodes": []}}])
def test_no_spec_stops_the_operator(content: Any) -> None:
    cluster = FakeCluster()
    cluster.job["spec"] = content
    assert reason(cluster.reconcile()) == ("Failed", "InvalidConfig")
    assert cluster.reconcile().events == ()


def test_an_unsound_spec_stops_what_runs() -> None:
    cluster = running()
    cluster.job["spec"]["training"] = {"steps": -1}
    plan = cluster.reconcile()
    assert plan.delete == [Reference("Job", "dog-0")]
    assert [event.reason for event in plan.events] == ["InvalidConfig"]
    assert plan.status["attempts"][0]["reason"] == "InvalidConfig"


def test_generations_are_told_also_after_the_end() -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.settle()
    cluster.job["metadata"]["generation"] = 2
    cluster.job["spec"]["retries"] = 5
    assert cluster.settle().status["observedGeneration"] == 2


# The training.


def test_progress_is_told_while_it_runs_and_never_falls_back() -> None:
    cluster = running()
    cluster.snapshot = told(percent=31.5, step=120)
    status = cluster.settle().status
    assert (status["progress"]["percent"], status["progress"]["step"]) == (31, 120)
    cluster.fail_attempt()
    cluster.later(10)
    cluster.settle()
    cluster.run()
    cluster.snapshot = told(percent=2.0, step=100)
    progress = cluster.settle().status["progress"]
    assert (progress["percent"], progress["step"]) == (31, 100)


def test_what_a_stopped_trainer_told_is_not_repeated() -> None:
    cluster = running()
    cluster.snapshot = told()
    cluster.settle()
    cluster.job["spec"]["suspend"] = True
    progress = cluster.settle().status["progress"]
    assert progress["step"] == 120
    assert "etaSeconds" not in progress and "stepsPerSecond" not in progress


def test_a_complete_job_tells_its_result() -> None:
    cluster = running()
    cluster.later(60)
    cluster.end(cluster.alive()[0], 0, DONE)
    plan = cluster.settle()
    assert plan.status["phase"] == "Complete"
    assert plan.status["result"] == {"claimName": "dog", "path": "dog", "figures": {"subj": 0.8}}
    assert plan.status["progress"]["percent"] == 100
    assert plan.status["gpuSeconds"] == 60
    assert plan.status["completionTime"] == "2026-01-02T03:01:00Z"
    assert [event.reason for event in cluster.events] == ["Starting", "Training", "Complete"]


def test_a_config_map_that_was_deleted_is_made_again() -> None:
    cluster = FakeCluster()
    cluster.settle()
    (pod,) = cluster.alive()
    cluster.wait(pod, "ContainerCreating")
    del cluster.objects[Reference("ConfigMap", "dog-config")]
    cluster.mount_failures[pod["metadata"]["name"]] = 'configmap "dog-config" not found'
    cluster.later(31)
    cluster.reconcile()
    assert Reference("ConfigMap", "dog-config") in cluster.objects


# Failures.


def test_failures_are_retried_ever_later_and_not_for_ever() -> None:
    cluster = FakeCluster(spec(retries=2))
    for number, delay in [(0, 10), (1, 20)]:
        cluster.fail_attempt(8, json.dumps({"reason": "CommunicationFailure", "message": "a peer died"}))
        plan = cluster.settle()
        assert reason(plan) == ("Retrying", "BackOff")
        assert plan.again_after == delay
        assert f"Attempt {number} ended by CommunicationFailure: a peer died." in plan.status["message"]
        cluster.later(delay)
    cluster.fail_attempt(8, json.dumps({"reason": "CommunicationFailure", "message": "a peer died"}))
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "CommunicationFailure")
    assert plan.status["message"] == "a peer died. That was failure 3, and spec.retries allows 2."
    assert [attempt["reason"] for attempt in plan.status["attempts"]] == ["CommunicationFailure"] * 3
    assert [event.reason for event in cluster.events if event.type == "Warning"] == ["CommunicationFailure"] * 3


def test_the_longest_delay_is_five_minutes() -> None:
    cluster = FakeCluster(spec(retries=9))
    for _ in range(7):
        cluster.fail_attempt()
        cluster.settle()
        cluster.later(300)
    cluster.fail_attempt()
    assert cluster.settle().again_after == 300


@pytest.mark.parametrize("code", [2, 3, 5, 6])
def test_what_no_retry_mends_is_not_retried(code: int) -> None:
    cluster = FakeCluster()
    cluster.fail_attempt(code)
    assert cluster.settle().status["phase"] == "Failed"
    assert len(cluster.jobs) == 1


@pytest.mark.parametrize("code", [1, 4, 7, 8, 137, 77])
def test_what_a_retry_may_mend_is_retried(code: int) -> None:
    cluster = FakeCluster()
    cluster.fail_attempt(code)
    assert cluster.settle().status["phase"] == "Retrying"


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures": 0},
        {"failures": -100},
        {"failures": 100},
        {"attempts": []},
        {"attempts": [{"number": -1, "jobName": "dog--1"}]},
        {"suspendedSeconds": -100},
        {"gpuSeconds": -100},
        {"progress": {"percent": 500, "step": -3}},
    ],
    ids=str,
)
def test_wrong_numbers_in_the_status_neither_end_a_job_early_nor_keep_it_from_its_end(wrong: dict[str, Any]) -> None:
    cluster = FakeCluster(spec(retries=1, activeDeadlineSeconds=100))
    cluster.fail_attempt()
    cluster.settle()
    cluster.job["status"] |= wrong
    plan = cluster.settle()
    assert (reason(plan), plan.again_after) == (("Retrying", "BackOff"), 10)
    cluster.later(10)
    cluster.fail_attempt()
    plan = cluster.settle()
    assert reason(plan) == ("Failed", "CommunicationFailure")
    assert plan.status["failures"] == 2
    assert [attempt["number"] for attempt in plan.status["attempts"]] == [0, 1]
    assert plan.status["gpuSeconds"] >= 0
    assert "percent" not in plan.status.get("progress", {}) or plan.status["progress"]["percent"] <= 100


def test_a_finished_job_stays_finished() -> None:
    cluster = FakeCluster(spec(retries=0))
    cluster.fail_attempt()
    cluster.settle()
    cluster.job["spec"] |= {"retries": 5, "suspend": True}
    before = deepcopy(cluster.job["status"])
    cluster.later(1000)
    plan = cluster.settle()
    assert plan == Plan(status=before, delete=[])


def test_a_disruption_of_several_nodes_begins_the_next_attempt_at_once() -> None:
    cluster = running(TWO_NODES)
    first, second = cluster.alive()
    cluster.end(first, 9, disruption="EvictionByEvictionAPI")
    cluster.control()
    cluster.end(second, 8)
    plan = cluster.settle()
    assert reason(plan) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0", "dog-1"]
    assert plan.status["failures"] == 0
    assert plan.status["attempts"][0]["reason"] == "Evicted"
    assert plan.status["attempts"][0]["disruption"]
    assert "Evicted" in [event.reason for event in cluster.events]


@pytest.mark.parametrize(
    ("disruption", "expected"),
    [
        ("EvictionByEvictionAPI", "Evicted"),
        ("TerminationByKubelet", "Evicted"),
        ("PreemptionByScheduler", "Preempted"),
        ("DeletionByTaintManager", "NodeLost"),
        ("DeletionByPodGC", "NodeLost"),
        ("SomethingNew", "Disrupted"),
    ],
)
def test_a_disruption_of_one_node_is_mended_by_the_job_itself(disruption: str, expected: str) -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 137, disruption=disruption)
    assert reason(cluster.reconcile()) == ("Retrying", expected)
    cluster.settle()
    cluster.run()
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Training")
    assert len(plan.status["attempts"]) == 1
    assert [event.reason for event in cluster.events][2:] == [expected, "Starting", "Training"]


def test_a_pod_that_saved_its_state_when_told_to_stop_is_replaced() -> None:
    cluster = running()
    cluster.end(cluster.alive()[0], 9)
    cluster.settle()
    cluster.run()
    assert reason(cluster.settle()) == ("Running", "Training")
    assert len(cluster.jobs) == 1


def test_a_job_deleted_by_hand_is_made_again_when_its_pods_are_gone() -> None:
    cluster = running()
    uid = cluster.current["metadata"]["uid"]
    (pod,) = cluster.alive()
    cluster.carry_out(Plan(status=cluster.job["status"], delete=[Reference("Job", "dog-0")]))
    assert reason(cluster.settle()) == ("Pending", "WaitingForLeftovers")
    cluster.end(pod, 9)
    assert reason(cluster.settle()) == ("Starting", "Starting")
    assert [job["metadata"]["name"] for job in cluster.jobs] == ["dog-0"]
    assert cluster.current["metadata"]["uid"] != uid


def test_only_the_last_ten_attempts_are_kept() -> None:
    cluster = FakeCluster(spec(retries=20))
    for _ in range(13):
        cluster.fail_attempt()
        cluster.settle()
        cluster.later(300)
    status = cluster.settle().status
    assert [attempt["number"] for attempt in status["attempts"]] == list(range(4, 14))
    assert [job["metadata"]["name"] for job in cluster.jobs] == [f"dog-{number}" for number in range(4, 14)]
    assert status["failures"] == 13


# Suspension, deadline, the end of all.


def test_suspending_stops_the_pods_and_resuming_goes_on() -> None:
    cluster = running()
    cluster.later(10)
    cluster.job["spec"]["suspend"] = True
    plan = cluster.reconcile()
    assert plan.delete == [Reference("Job", "dog-0")]
    assert plan.status["phase"] == "Suspended"
    (pod,) = cluster.alive()
    assert "deletionTimestamp" in pod["metadata"]
    cluster.later(5)
    cluster.end(pod, 9)
    assert cluster.settle().status["gpuSeconds"] == 15
    assert cluster.jobs == []
    cluster.later(100)
    cluster.job["spec"]["suspend"] = False
    plan = cluster.settle()
    cluster.run()
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Training")
    assert plan.status["suspendedSeconds"] == 105
    assert [attempt["number"] for attempt in plan.status["attempts"]] == [0]
    suspended = condition(plan.status, "Suspended")
    assert suspended is not None and (suspended["status"], suspended["reason"]) == ("False", "Resumed")
    words = [event.reason for event in cluster.events]
    assert words == ["Starting", "Training", "Suspended", "Resumed", "Starting", "Training"]


def test_a_job_that_is_born_suspended_asks_for_nothing() -> None:
    plan = FakeCluster(spec(suspend=True)).settle()
    assert plan.status["phase"] == "Suspended"
    assert [*plan.apply, *plan.create, *plan.delete, *plan.status["attempts"]] == []


def test_the_deadline_does_not_count_suspension() -> None:
    cluster = running(spec(activeDeadlineSeconds=100))
    assert cluster.decide().again_after == 100
    cluster.later(60)
    cluster.job["spec"]["suspend"] = True
    cluster.settle()
    cluster.end(cluster.alive()[0], 9)
    cluster.later(1000)
    assert cluster.settle().again_after is None
    cluster.job["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    assert cluster.settle().again_after == 40
    cluster.later(40)
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "DeadlineExceeded")
    assert plan.delete == [Reference("Job", "dog-0")]
    cluster.later(7)
    cluster.end(cluster.alive()[0], 9)
    assert cluster.settle().status["gpuSeconds"] == 60 + 1000 - 1000 + 47


def test_what_still_runs_after_the_end_is_stopped() -> None:
    cluster = running(spec(activeDeadlineSeconds=10))
    cluster.later(10)
    plan = cluster.decide()
    cluster.carry_out(plan, writes=1)
    assert cluster.job["status"]["phase"] == "Failed"
    assert cluster.decide().delete == [Reference("Job", "dog-0")]


def test_a_finished_job_is_deleted_in_its_time() -> None:
    cluster = running(spec(ttlSecondsAfterFinished=50))
    cluster.end(cluster.alive()[0], 0, DONE)
    cluster.control()
    plan = cluster.reconcile()
    assert (plan.status["phase"], plan.again_after) == ("Complete", 50), "no watch tells of our own last write"
    cluster.later(49)
    assert cluster.reconcile().delete == []
    cluster.later(1)
    assert cluster.reconcile().delete == [Reference("DreamBoothJob", "dog")]
    assert cluster.gone


def test_a_job_that_is_being_deleted_is_stopped_and_else_left_alone() -> None:
    """Whatever finalizers keep it: none of them may keep its GPUs."""
    cluster = running()
    cluster.job["metadata"]["deletionTimestamp"] = "2026-01-02T03:00:00Z"
    assert cluster.reconcile() == Plan(status=cluster.job["status"], delete=[Reference("Job", "dog-0")])
    assert cluster.reconcile() == Plan(status=cluster.job["status"], delete=[])


# Runtimes.


NAMED = spec(runtime="big")
HERE = {"matchLabels": {"team": "vision"}}


def team(cluster: FakeCluster, name: str) -> None:
    """Labels the namespace."""
    cluster.add("Namespace", "space")["metadata"]["labels"] = {"team": name}


def started(plan: Plan) -> dict[str, Any]:
    """The pod template of the Job that is made."""
    return dict(plan.create[-1]["spec"]["template"]["spec"])


def test_a_runtime_that_comes_later_lets_the_job_go_on() -> None:
    cluster = FakeCluster(NAMED)
    plan = cluster.reconcile()
    assert (reason(plan), plan.again_after, plan.create) == (("Pending", "RuntimeNotFound"), 15, ())
    assert "DreamBoothRuntime big" in plan.status["message"]
    cluster.publish("big", image="trainer:2")
    plan = cluster.reconcile()
    assert reason(plan) == ("Starting", "Starting")
    assert started(plan)["containers"][0]["image"] == "trainer:2"
    assert plan.status["runtime"] == "big"
    assert plan.create[-1]["metadata"]["labels"][names.LABEL_RUNTIME] == "big"
    assert cluster.settle().status["runtime"] == "big"


@pytest.mark.parametrize(
    ("content", "published", "expected"),
    [
        (NAMED, {"big": {"namespaceSelector": {"matchLabels": {"team": "sound"}}}}, "RuntimeForbidden"),
        (NAMED, {"big": {"namespaceSelector": HERE}}, "Starting"),
        (NAMED, {"big": {"unheardOf": 1}}, "RuntimeUnsound"),
        (NAMED, {"other": {"default": True}}, "RuntimeNotFound"),
        (MINIMAL, {"big": {}}, "RuntimeNotNamed"),
        (MINIMAL, {"big": {"default": True}}, "Starting"),
        (MINIMAL, {"big": {"namespaceSelector": {"matchLabels": {"team": "sound"}}}}, "Starting"),
        (MINIMAL, {"big": {"default": True, "unheardOf": 1}}, "RuntimeUnsound"),
    ],
)
def test_which_runtimes_a_job_may_have(content: dict[str, Any], published: dict[str, Any], expected: str) -> None:
    cluster = FakeCluster(content)
    team(cluster, "vision")
    for name, one in published.items():
        cluster.publish(name, **one)
    assert reason(cluster.reconcile())[1] == expected


def test_what_a_runtime_does_not_allow_ends_the_job_before_it_starts() -> None:
    cluster = FakeCluster(spec(training={"steps": 800}, scheduling={"priorityClassName": "urgent"}))
    cluster.publish("small", default=True, limits={"steps": 400})
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "InvalidConfig")
    assert [*plan.apply, *plan.create] == []
    assert "spec.training.steps: 800 is more than the runtime small allows: 400." in plan.status["message"]
    assert "spec.scheduling.priorityClassName: 'urgent' is not allowed" in plan.status["message"]
    accepted = condition(plan.status, "Accepted")
    assert accepted is not None and accepted["status"] == "False"


def test_an_attempt_keeps_what_its_runtime_was_when_it_began() -> None:
    cluster = FakeCluster(MINIMAL)
    cluster.publish("small", default=True, limits={"activeDeadlineSeconds": 100})
    cluster.settle()
    cluster.run()
    assert cluster.settle().again_after == 100
    cluster.runtimes.clear()
    cluster.publish("smaller", default=True, image="other:1", limits={"steps": 1, "activeDeadlineSeconds": 1})
    cluster.later(99)
    plan = cluster.reconcile()
    assert (reason(plan), plan.again_after) == (("Running", "Training"), 1)
    cluster.job["spec"]["activeDeadlineSeconds"] = 1000
    cluster.later(1)
    plan = cluster.reconcile()
    assert reason(plan) == ("Failed", "DeadlineExceeded")
    assert "of its runtime (100)" in plan.status["message"]


def test_the_claim_of_a_runtimes_cache_is_waited_for() -> None:
    cluster = FakeCluster(NAMED)
    cluster.publish("big", volumes={"cache": {"claimName": "models"}})
    plan = cluster.reconcile()
    assert reason(plan) == ("Pending", "ClaimNotFound")
    assert "(or its runtime)" in plan.status["message"]
    cluster.add(CLAIM, "models")
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}} in started(cluster.reconcile())[
        "volumes"
    ]


def test_without_a_runtime_the_settings_say_which_images_run() -> None:
    settings = SETTINGS.model_copy(update={"allowed_images": ["registry/*"]})
    for image, expected in {"registry/own:1": "Starting", "elsewhere/own:1": "InvalidConfig"}.items():
        assert reason(FakeCluster(spec(image=image), settings).reconcile())[1] == expected


# Kueue.


def test_a_queued_job_waits_for_kueue_and_is_never_written_again() -> None:
    cluster = FakeCluster(QUEUED)
    plan = cluster.reconcile()
    job = plan.create[-1]
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"][names.LABEL_QUEUE] == "team"
    assert reason(plan) == ("Queued", "Queued")
    cluster.current["spec"]["suspend"] = False
    cluster.current["spec"]["template"]["spec"]["nodeSelector"] = {"flavor": "h200"}
    cluster.settle()
    cluster.run()
    plan = cluster.settle()
    assert reason(plan) == ("Running", "Training")
    assert [*plan.apply, *plan.create] == []
    assert cluster.current["spec"]["template"]["spec"]["nodeSelector"] == {"flavor": "h200"}


def test_kueue_may_take_the_admission_back() -> None:
    cluster = FakeCluster({**TWO_NODES, **QUEUED})
    cluster.reconcile()
    cluster.current["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    cluster.settle()
    cluster.later(30)
    cluster.current["spec"]["suspend"] = True
    assert reason(cluster.settle()) == ("Queued", "Queued")
    for pod in cluster.alive():
        cluster.end(pod, 9)
    plan = cluster.settle()
    assert reason(plan) == ("Queued", "Queued")
    assert plan.status["gpuSeconds"] == 60
    cluster.current["spec"]["suspend"] = False
    cluster.settle()
    cluster.run()
    assert reason(cluster.settle()) == ("Running", "Training")
    assert len(cluster.jobs) == 1


# Purity.


def test_nothing_that_was_observed_is_changed() -> None:
    cluster = running()
    cluster.snapshot = told()
    observed = cluster.observe()
    before = deepcopy(observed)
    reconcile(observed, cluster.now, SETTINGS)
    assert observed == before


def test_answers_that_are_refused_become_a_condition_and_one_event() -> None:
    cluster = running()
    cluster.distrust = "it is no JSON."
    plan = cluster.reconcile()
    assert reason(plan) == ("Running", "ProgressRefused")
    assert [(event.type, event.reason) for event in plan.events] == [("Warning", "ProgressRefused")]
    assert cluster.reconcile().events == []
    cluster.distrust = None
    assert reason(cluster.reconcile()) == ("Running", "Training")
