"""A fake cluster in memory: a namespace with a DreamBoothJob, and the behaviour of the Job controller, the garbage collector
and the kubelet. For tests of decisions; other tests use a real cluster."""

import itertools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from dreambooth_api.progress import Snapshot
from dreambooth_operator.decide.reconcile import reconcile, references
from dreambooth_operator.objects.names import LABEL_ATTEMPT, LABEL_INDEX
from dreambooth_operator.objects.observed import Event, InvalidField, Observed, Plan, Reference
from dreambooth_operator.settings import Settings

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
SETTINGS = Settings(trainer_image="trainer:1")
PHOTOS = "photos"
MINIMAL: Mapping[str, Any] = {
    "model": {"source": "embedded://emoji"},
    "subject": {"class": "dog", "images": {"configMap": {"name": PHOTOS}}},
}


def stamp(time: datetime) -> str:
    """A time as the API server writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


class Cache(NamedTuple):
    """The Jobs and pods that the watches had delivered at some time."""

    jobs: Sequence[dict[str, Any]]
    pods: Sequence[dict[str, Any]]

    def seen(self, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The Jobs of the cache, with those that were created since: the operator's own writes are in it at once."""
        uids = {job["metadata"]["uid"] for job in self.jobs}
        return [*self.jobs, *(job for job in jobs if job["metadata"]["uid"] not in uids)]


class FakeCluster:
    """The DreamBoothJob or DreamBoothScene `dog` of namespace `space` and all that belongs to it."""

    def __init__(
        self, spec: Mapping[str, Any] | None = None, settings: Settings = SETTINGS, kind: str = "DreamBoothJob"
    ) -> None:
        self.now = START
        self.settings = settings
        self.objects: dict[Reference, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.runtimes: list[dict[str, Any]] = []
        self.mount_failures: dict[str, str] = {}
        self.unbound_claims: dict[str, str] = {}
        self.refusals: dict[Reference, str] = {}
        self.invalid_fields: list[InvalidField] = []
        self.snapshot: Snapshot | None = None
        self.progress_since: datetime | None = None
        self.progress_error: str | None = None
        self.trained: dict[str, Any] | None = None
        self.events: list[Event] = []
        self.gone = False
        self._numbers = itertools.count(1)
        self.job: dict[str, Any] = {
            "apiVersion": "dreambooth.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": "dog", "namespace": "space", "uid": self.uid(), "generation": 1},
            "spec": deepcopy(dict(MINIMAL if spec is None else spec)),
        }
        self.add("ConfigMap", PHOTOS)

    def uid(self) -> str:
        """A UID that was never used."""
        return f"uid-{next(self._numbers)}"

    def add(self, kind: Any, name: str, **more: Any) -> dict[str, Any]:
        """Puts an object there."""
        metadata = {"name": name, "namespace": "space", "uid": self.uid(), "creationTimestamp": stamp(self.now)}
        item = {"kind": kind, "metadata": metadata, **more}
        self.objects[Reference(kind, name)] = item
        return item

    def publish(self, name: str, **spec: Any) -> None:
        """Puts a DreamBoothRuntime there."""
        metadata = {"name": name, "uid": self.uid(), "creationTimestamp": stamp(self.now)}
        self.runtimes.append({"kind": "DreamBoothRuntime", "metadata": metadata, "spec": spec})

    # The operator.

    def observe(self, cache: Cache | None = None) -> Observed:
        """The input of `reconcile`, from the watches' cache as it was at some time, or as it is now."""
        jobs, pods = cache.seen(self.jobs) if cache else self.jobs, cache.pods if cache else self.pods
        observed = Observed(
            owner=deepcopy(self.job),
            jobs=deepcopy(jobs),
            pods=deepcopy(pods),
            runtimes=deepcopy(self.runtimes),
            mount_failures=dict(self.mount_failures),
            unbound_claims=dict(self.unbound_claims),
            refusals=dict(self.refusals),
            invalid_fields=list(self.invalid_fields),
            snapshot=self.snapshot,
            progress_since=self.progress_since,
            progress_error=self.progress_error,
            trained=deepcopy(self.trained),
        )
        asked = references(observed, self.now, self.settings)
        referenced = {reference: deepcopy(self.objects.get(reference)) for reference in asked}
        return Observed(**{**vars(observed), "referenced": referenced})

    def cache(self) -> Cache:
        """The cache of the watches, as it is now."""
        return Cache(deepcopy(self.jobs), deepcopy(self.pods))

    def decide(self, cache: Cache | None = None) -> Plan:
        """The plan of the operator, from the watches' cache as it was at some time, or as it is now."""
        return reconcile(self.observe(cache), self.now, self.settings)

    def carry_out(self, plan: Plan, writes: int | None = None, cache: Cache | None = None) -> None:
        """Carries out a plan, or only its first writes, as if the operator was killed, or the next write was refused.

        A Job is deleted by the UID that it has in the cache.
        """
        steps: list[Any] = [*(("apply", item) for item in plan.apply), *(("create", item) for item in plan.create)]
        steps += [("status", plan.status)] if plan.status != self.job.get("status", {}) else []
        known = {
            job["metadata"]["name"]: job["metadata"]["uid"] for job in (cache.seen(self.jobs) if cache else self.jobs)
        }
        steps += [("delete", (reference, known.get(reference.name))) for reference in plan.delete]
        steps += [("event", event) for event in plan.events]
        for verb, what in steps[:writes]:
            if getattr(self, f"_{verb}")(what):
                break  # as `control/controller.py`: the next reconciliation sees the Job

    def reconcile(self) -> Plan:
        """Decides and carries it out."""
        plan = self.decide()
        self.carry_out(plan)
        return plan

    def settle(self) -> Plan:
        """Runs the operator and the Job controller in turn until nothing changes."""
        for _ in range(20):
            before = deepcopy((self.job, self.objects, self.pods))
            plan = self.reconcile()
            self.control()
            if before == (self.job, self.objects, self.pods):
                return plan
        raise AssertionError("never settles")

    def _apply(self, item: Mapping[str, Any]) -> None:
        reference = Reference(item["kind"], item["metadata"]["name"])
        known = self.objects.get(reference) or self.add(*reference)
        self.objects[reference] = {**deepcopy(dict(item)), "metadata": {**known["metadata"], **item["metadata"]}}

    def _create(self, item: Mapping[str, Any]) -> bool:
        """Creates an object, unless it exists or is refused; returns whether it is a Job."""
        reference = Reference(item["kind"], item["metadata"]["name"])
        if reference in self.objects or reference in self.refusals:
            return False
        self._apply(item)
        return reference.kind == "Job"

    def _status(self, status: Mapping[str, Any]) -> None:
        self.job["status"] = deepcopy(dict(status))

    def _event(self, event: Event) -> None:
        self.events.append(event)

    def _delete(self, target: tuple[Reference, str | None]) -> None:
        reference, uid = target
        if reference.kind == self.job["kind"]:
            self.gone = True
        elif (item := self.objects.get(reference)) and (reference.kind != "Job" or item["metadata"]["uid"] == uid):
            item["metadata"].setdefault("deletionTimestamp", stamp(self.now))
            self.collect()

    # Kubernetes.

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """All Jobs with the label that the operator watches."""
        return [item for reference, item in self.objects.items() if reference.kind == "Job" and _is_labelled(item)]

    @property
    def current(self) -> dict[str, Any]:
        """The newest Job."""
        return self.jobs[-1]

    def alive(self, job: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The pods of one Job, or of all Jobs, that have not ended."""
        pods = [pod for pod in self.pods if pod["status"]["phase"] in ("Pending", "Running")]
        return [pod for pod in pods if job is None or _owner(pod) == job["metadata"]["uid"]]

    def control(self) -> None:
        """The Job controller: creates and replaces pods, and suspends, completes and fails Jobs."""
        self.collect()
        for job in self.jobs:
            if not _ended(job) and "deletionTimestamp" not in job["metadata"]:
                self._control(job)

    def _control(self, job: dict[str, Any]) -> None:
        own = [pod for pod in self.pods if _owner(pod) == job["metadata"]["uid"]]
        failed = [(pod, _action(job, pod)) for pod in own if pod["status"]["phase"] == "Failed"]
        final_failure = next((message for _, (action, message) in failed if action == "FailJob"), None)
        if final_failure is None and any(action == "Count" for _, (action, _) in failed):
            final_failure = "Job has reached the specified backoff limit"
        if final_failure is not None or job["spec"]["suspend"]:
            for pod in self.alive(job):
                self.tell_to_stop(pod)
        if final_failure is not None:
            if not self.alive(job):
                self._end(job, "Failed", final_failure)
            return
        done = {pod["metadata"]["labels"][LABEL_INDEX] for pod in own if pod["status"]["phase"] == "Succeeded"}
        if len(done) == job["spec"]["completions"]:
            self._end(job, "Complete", "")
            return
        if not job["spec"]["suspend"]:
            taken = done | {pod["metadata"]["labels"][LABEL_INDEX] for pod in self.alive(job)}
            for index in range(job["spec"]["completions"]):
                if str(index) not in taken:
                    self._make_pod(job, index)

    def _end(self, job: dict[str, Any], type_: str, message: str) -> None:
        condition = {"type": type_, "status": "True", "message": message, "lastTransitionTime": stamp(self.now)}
        job["status"] = {"conditions": [condition]}

    def _make_pod(self, job: Mapping[str, Any], index: int) -> None:
        template = deepcopy(job["spec"]["template"])
        name = f"{job['metadata']['name']}-{index}-{next(self._numbers)}"
        owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "controller": True}
        metadata = {"name": name, "namespace": "space", "uid": self.uid(), "ownerReferences": [owner]}
        metadata |= {"labels": {**template["metadata"]["labels"], LABEL_INDEX: str(index)}}
        metadata |= {"creationTimestamp": stamp(self.now)}
        self.pods.append(
            {"kind": "Pod", "metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}
        )

    def collect(self) -> None:
        """The garbage collector: removes a deleted Job after its pods."""
        for reference, item in list(self.objects.items()):
            if "deletionTimestamp" not in item["metadata"]:
                continue
            for pod in self.alive(item):
                self.tell_to_stop(pod)
            if not self.alive(item):
                del self.objects[reference]
                self.pods = [pod for pod in self.pods if _owner(pod) != item["metadata"]["uid"]]

    def tell_to_stop(self, pod: dict[str, Any]) -> None:
        """SIGTERM with a grace period of five minutes; a pod without a node is deleted at once."""
        if "startTime" not in pod["status"]:
            self.pods.remove(pod)
        pod["metadata"].setdefault("deletionTimestamp", stamp(self.now + timedelta(minutes=5)))

    def run(self, pod: dict[str, Any] | None = None) -> None:
        """The kubelet starts the container of a pod, or of all."""
        for one in [pod] if pod else self.alive():
            if "startTime" not in one["status"]:
                state = {"running": {"startedAt": stamp(self.now)}}
                status = {"phase": "Running", "startTime": stamp(self.now), "containerStatuses": _statuses(state)}
                one["status"].update(status)

    def wait(self, pod: dict[str, Any], reason: str, message: str = "") -> None:
        """The kubelet accepts a pod but can't start its container."""
        state = {"waiting": {"reason": reason, "message": message}}
        pod["status"].update(startTime=stamp(self.now), containerStatuses=_statuses(state))

    def end(self, pod: dict[str, Any], code: int, message: str = "", reason: str = "", disruption: str = "") -> None:
        """The container of a pod ends."""
        state = {"exitCode": code, "message": message, "reason": reason or ("Error" if code else "Completed")}
        state |= {"startedAt": pod["status"].get("startTime"), "finishedAt": stamp(self.now)}
        phase = "Failed" if code else "Succeeded"
        pod["status"].update(phase=phase, containerStatuses=_statuses({"terminated": state}))
        if disruption:
            target = {"type": "DisruptionTarget", "status": "True", "reason": disruption, "message": "because"}
            pod["status"]["conditions"] = [target]

    def fail_attempt(self, code: int = 8, message: str = "") -> None:
        """Runs the next attempt and lets its first pod fail."""
        self.settle()
        self.run()
        self.settle()
        self.end(self.alive()[0], code, message)
        self.control()
        for pod in self.alive():
            self.end(pod, 9)
        self.control()

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)


def condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """A condition of a DreamBoothJob's status."""
    return next((one for one in status["conditions"] if one["type"] == type_), None)


def ended_job(*conditions: str, **status: Any) -> dict[str, Any]:
    """The DreamBoothJob `rex` with conditions that hold, which a DreamBoothScene may name."""
    held = {"status": "True", "message": "", "lastTransitionTime": stamp(START), "observedGeneration": 1}
    return {
        "apiVersion": "dreambooth.io/v1alpha1",
        "kind": "DreamBoothJob",
        "metadata": {"name": "rex", "namespace": "space", "uid": "uid-rex"},
        "spec": dict(MINIMAL),
        "status": {
            "startTime": stamp(START),
            **status,
            "conditions": [{"type": one, "reason": one, **held} for one in conditions],
        },
    }


def _statuses(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "trainer", "state": dict(state)}]


def _owner(item: Mapping[str, Any]) -> str:
    owners: Sequence[Mapping[str, Any]] = item["metadata"].get("ownerReferences", ())
    return next((str(owner["uid"]) for owner in owners), "")


def _is_labelled(item: Mapping[str, Any]) -> bool:
    return LABEL_ATTEMPT in item["metadata"].get("labels", {})


def _ended(job: Mapping[str, Any]) -> bool:
    return any(one["type"] in ("Complete", "Failed") for one in job.get("status", {}).get("conditions", ()))


def _action(job: Mapping[str, Any], pod: Mapping[str, Any]) -> tuple[str, str]:
    """The action of the first rule of the podFailurePolicy that matches a failed pod."""
    terminated = pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("terminated")
    conditions = pod["status"].get("conditions", ())
    for index, rule in enumerate(job["spec"]["podFailurePolicy"]["rules"]):
        if asked := rule.get("onExitCodes"):
            inside = terminated is not None and terminated["exitCode"] in asked["values"]
            said = f"Container trainer for pod failed with exit code {terminated and terminated['exitCode']}"
            matches = terminated is not None and inside == (asked["operator"] == "In")
        else:
            said = "Pod has condition DisruptionTarget"
            types = {pattern["type"] for pattern in rule["onPodConditions"]}
            matches = any(one["type"] in types and one["status"] == "True" for one in conditions)
        if matches:
            return rule["action"], f"{said} matching {rule['action']} rule at index {index}"
    return "Count", ""
