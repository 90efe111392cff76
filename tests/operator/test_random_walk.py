"""Invariants that hold after any sequence of events, tested against a fake cluster."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dreambooth_operator.decide.status.endings import ending_of_pod
from dreambooth_operator.objects.names import LABEL_INDEX
from dreambooth_operator.objects.observed import Reference
from tests.operator.fake_cluster import MINIMAL, Cache, FakeCluster, condition, ended_job
from tests.operator.poll.test_snapshot_validation import make_snapshot

CODES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 137])
DISRUPTIONS = st.sampled_from(["", "", "", "EvictionByEvictionAPI", "DeletionByPodGC"])


class RandomWalk(RuleBasedStateMachine):
    """A DreamBoothJob or DreamBoothScene with random events."""

    cluster: FakeCluster

    @initialize(
        nodes=st.integers(1, 2),
        queue=st.booleans(),
        retries=st.integers(0, 3),
        deadline=st.sampled_from([None, 100, 1000]),
        ttl=st.sampled_from([None, 50]),
        kind=st.sampled_from(["DreamBoothJob", "DreamBoothScene"]),
    )
    def apply(self, nodes: int, queue: bool, retries: int, deadline: int | None, ttl: int | None, kind: str) -> None:
        spec: dict[str, Any] = {**MINIMAL, "retries": retries, "resources": {"nodes": nodes}}
        if kind == "DreamBoothScene":
            spec = {"jobName": "rex", "prompts": ["a {identifier} {class}"], "retries": retries}
        spec |= {"scheduling": {"queueName": "team"}} if queue else {}
        spec |= {"activeDeadlineSeconds": deadline} if deadline else {}
        spec |= {"ttlSecondsAfterFinished": ttl} if ttl else {}
        self.cluster = FakeCluster(spec, kind=kind)
        if kind == "DreamBoothScene":
            self.cluster.trained = ended_job("Complete")
            self.cluster.add("PersistentVolumeClaim", "rex")
        self.cache: Cache | None = None
        self.seen: Mapping[str, Any] = {}

    @rule()
    def the_operator_works(self) -> None:
        self.cluster.reconcile()

    @rule(writes=st.integers(0, 8))
    def the_operator_is_killed_between_two_writes(self, writes: int) -> None:
        self.cluster.carry_out(self.cluster.decide(), writes)

    @rule()
    def the_watches_stall(self) -> None:
        """What happens from now on is not in the cache."""
        self.cache = self.cache or self.cluster.cache()

    @precondition(lambda self: self.cache)
    @rule(writes=st.none() | st.integers(0, 8))
    def the_operator_works_with_a_stale_cache(self, writes: int | None) -> None:
        self.cluster.carry_out(self.cluster.decide(self.cache), writes, self.cache)

    @rule()
    def the_watches_catch_up(self) -> None:
        self.cache = None

    @rule()
    def the_last_status_is_lost(self) -> None:
        """A decision from an outdated cache writes objects at most, because its status update is a conflict."""
        plan = self.cluster.decide()
        before = deepcopy(self.cluster.job)
        self.cluster.carry_out(plan)
        if not condition(plan.status, "Complete") and not condition(plan.status, "Failed"):
            self.cluster.job = before

    @rule()
    def kubernetes_works(self) -> None:
        self.cluster.control()

    @rule()
    def pods_run(self) -> None:
        self.cluster.run()

    @precondition(lambda self: self.running())
    @rule(pick=st.integers(0, 9), code=CODES, disruption=DISRUPTIONS)
    def a_pod_ends(self, pick: int, code: int, disruption: str) -> None:
        pods = self.running()
        self.cluster.end(pods[pick % len(pods)], code, disruption=disruption if code else "")
        self.cluster.control()

    @precondition(lambda self: self.running())
    @rule(percent=st.floats(0, 100), step=st.integers(0, 400))
    def the_trainer_tells(self, percent: float, step: int) -> None:
        phase = "generate" if self.cluster.trained else "train"
        self.cluster.snapshot = make_snapshot(phase=phase, percent=percent, step=step)

    @rule(suspend=st.booleans())
    def the_user_suspends_or_resumes(self, suspend: bool) -> None:
        self.cluster.job["spec"]["suspend"] = suspend

    @rule(retries=st.integers(0, 5))
    def the_user_changes_the_retries(self, retries: int) -> None:
        self.cluster.job["spec"]["retries"] = retries

    @precondition(lambda self: self.cluster.jobs)
    @rule(suspend=st.booleans())
    def kueue_decides(self, suspend: bool) -> None:
        if "queueName" in self.cluster.job["spec"].get("scheduling", {}):
            self.cluster.current["spec"]["suspend"] = suspend

    @precondition(lambda self: self.cluster.jobs)
    @rule()
    def somebody_deletes_the_newest_job(self) -> None:
        self.cluster.current["metadata"].setdefault("deletionTimestamp", "2026-01-02T03:00:00Z")
        self.cluster.collect()

    @rule()
    def the_photos_vanish_or_come_back(self) -> None:
        """Or the claim of a scene's DreamBoothJob."""
        reference = self.needed()
        if self.cluster.objects.pop(reference, None) is None:
            self.cluster.add(*reference)

    @rule(seconds=st.sampled_from([1, 10, 31, 300]))
    def time_passes(self, seconds: int) -> None:
        self.cluster.later(seconds)

    def needed(self) -> Reference:
        """An object that an attempt needs."""
        return Reference("PersistentVolumeClaim", "rex") if self.cluster.trained else Reference("ConfigMap", "photos")

    def running(self) -> list[dict[str, Any]]:
        """Pods that run."""
        return [pod for pod in self.cluster.alive() if pod["status"]["phase"] == "Running"]

    @invariant()
    def never_two_trainers_in_one_folder(self) -> None:
        owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in self.cluster.alive()}
        assert len(owners) <= 1
        places = [pod["metadata"]["labels"][LABEL_INDEX] for pod in self.cluster.alive()]
        assert len(places) == len(set(places))

    @invariant()
    def attempts_are_counted_one_by_one(self) -> None:
        numbers = [attempt["number"] for attempt in self.cluster.job.get("status", {}).get("attempts", [])]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        ended = [attempt for attempt in self.status().get("attempts", []) if "completionTime" in attempt]
        assert len(numbers) - len(ended) <= 1

    @invariant()
    def nothing_that_was_told_is_taken_back(self) -> None:
        status, seen = self.status(), self.seen
        if not seen.get("phase"):
            self.seen = deepcopy(status)
            return
        if "percent" in seen.get("progress", {}):
            assert status["progress"]["percent"] >= seen["progress"]["percent"]
        if seen["phase"] in ("Complete", "Failed"):
            for field in ("phase", "conditions", "attempts", "completionTime", "message"):
                assert status[field] == seen[field]
        if "startTime" in seen:
            assert status["startTime"] == seen["startTime"]
        self.seen = deepcopy(status)

    @invariant()
    def a_second_look_changes_nothing(self) -> None:
        cluster = deepcopy(self.cluster)
        cluster.carry_out(cluster.decide())
        # If this has created a Job, the status follows in the next reconciliation, at once.
        cluster.carry_out(cluster.decide())
        objects = deepcopy(cluster.objects)
        plan = cluster.decide()
        assert plan.status == cluster.job["status"]
        assert plan.events in ((), [])
        cluster.carry_out(plan)
        assert cluster.objects == objects

    @invariant()
    def what_is_decided_waits_for_something(self) -> None:
        """Pods are running or starting, or the DreamBoothJob has ended or is suspended, or it is requeued."""
        cluster = deepcopy(self.cluster)
        plan = cluster.settle()
        resting = plan.status["phase"] in ("Complete", "Failed", "Suspended", "Queued")
        assert resting or cluster.alive() or plan.requeue_after

    def status(self) -> dict[str, Any]:
        """The status as it is written."""
        status: dict[str, Any] = self.cluster.job.get("status", {})
        return status

    def teardown(self) -> None:
        """Without further events, each DreamBoothJob ends."""
        if not hasattr(self, "cluster"):
            return
        cluster = self.cluster
        cluster.job["spec"] |= {"suspend": False}
        if self.needed() not in cluster.objects:
            cluster.add(*self.needed())
        for _ in range(20):
            cluster.later(301)
            cluster.settle()
            for job in cluster.jobs:
                job["spec"]["suspend"] = False
            cluster.settle()
            cluster.run()
            for pod in cluster.alive():
                cluster.end(pod, 9 if "deletionTimestamp" in pod["metadata"] else 0)
            if cluster.settle().status["phase"] in ("Complete", "Failed"):
                break
        assert cluster.job["status"]["phase"] in ("Complete", "Failed")
        failed = [pod for pod in cluster.pods if pod["status"]["phase"] == "Failed"]
        assert all(ending_of_pod(pod).reason for pod in failed)


TestRandomWalk = RandomWalk.TestCase
TestRandomWalk.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
