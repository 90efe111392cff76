import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from kubernetes.aio import client

from dreambooth_api.status import NOT_OBSERVED
from dreambooth_operator.control import event_lookups
from dreambooth_operator.control.controller import Controller, Reconciler
from dreambooth_operator.control.workload_metrics import WorkloadMetrics
from dreambooth_operator.control.writer import EXISTED_SECONDS, Writer, WriteRefused
from dreambooth_operator.decide import reconcile
from dreambooth_operator.decide.decision import RECHECK
from dreambooth_operator.decide.status import diagnosis
from dreambooth_operator.kube.cache import Store
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.kube.lease import Leadership
from dreambooth_operator.objects.names import LABEL_JOB
from dreambooth_operator.objects.observed import Event, Key, Object, Observed, Plan, Reference
from dreambooth_operator.poll.poller import Poller
from dreambooth_operator.queueing.adaptive_limit import AdaptiveLimit
from dreambooth_operator.queueing.work_queue import WorkQueue
from dreambooth_operator.settings import Settings
from tests.conftest import Cluster as Kubectl
from tests.operator.clusters import applied_job, network, until, with_cluster
from tests.patience import PATIENCE
from tests.permissions import scene

PHOTOS = Reference("ConfigMap", "photos")


class HeldLease(Leadership):
    """A Lease that is held, or not."""

    def __init__(self) -> None:
        self.mine = True
        self.seconds = 60.0

    def remaining(self) -> float:
        return self.seconds if self.mine else 0.0


@dataclass
class Script:
    """A fake reconciler that records its input."""

    decide: Callable[[Observed], Plan]
    asks: set[Reference] = field(default_factory=set)
    shown: list[Observed] = field(default_factory=list)

    def reconcile(self, observed: Observed, now: datetime, settings: Settings) -> Plan:
        self.shown.append(observed)
        return self.decide(observed)

    def references(self, observed: Observed, now: datetime, settings: Settings) -> set[Reference]:
        return self.asks


UNSEEN = {"observedGeneration": NOT_OBSERVED}
"""The status before the operator writes one."""


class Running:
    """A running controller without watches."""

    def __init__(self, cluster: Cluster, namespace: str, reconciler: Reconciler) -> None:
        settings = Settings(trainer_image="trainer", workers=2)
        self.cluster = cluster
        self.key = Key(namespace, "dog")
        self.store, self.queue, self.lease = Store(), WorkQueue(AdaptiveLimit(2)), HeldLease()
        writer = Writer(cluster, self.store, self.lease, WorkloadMetrics(self.store), settings)
        progress = Poller(self.store, self.queue, settings)
        self.controller = Controller(cluster, self.store, self.queue, progress, writer, settings, reconciler)

    async def job(self) -> Any:
        return await self.cluster.get(self.key.kind, self.key.namespace, self.key.name)

    async def idle(self) -> None:
        await until(lambda: not len(self.queue) and not self.queue.busy())


@asynccontextmanager
async def running(cluster: Cluster, namespace: str, script: Script) -> AsyncIterator[Running]:
    """A DreamBoothJob that is in the store and on the queue."""
    parts = Running(cluster, namespace, script)
    parts.store.put(await cluster.create(applied_job(namespace)))
    parts.queue.add(parts.key)
    task = asyncio.create_task(parts.controller.run())
    try:
        yield parts
    finally:
        parts.queue.close()
        await asyncio.wait_for(task, PATIENCE)


def config_map(observed: Observed, name: str = "settings", **data: str) -> Object:
    metadata = {"name": name, "namespace": observed.owner["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def attempt(observed: Observed, name: str = "dog-0") -> Object:
    """A Job that never starts a pod."""
    owner = {
        "apiVersion": observed.owner["apiVersion"],
        "kind": observed.owner["kind"],
        "controller": True,
    }
    owner |= {key: observed.owner["metadata"][key] for key in ("name", "uid")}
    metadata = {
        "name": name,
        "namespace": observed.owner["metadata"]["namespace"],
        "labels": {LABEL_JOB: observed.owner["metadata"]["name"]},
        "ownerReferences": [owner],
    }
    container = {"name": "trainer", "image": "trainer"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {"suspend": True, "template": template},
    }


def test_a_plan_is_carried_out_and_its_results_are_cached(namespace: str) -> None:
    def decide(observed: Observed) -> Plan:
        if not observed.jobs:
            making = {"apply": [config_map(observed, a="b")], "create": [attempt(observed)]}
            return Plan(status={"phase": "Pending"}, events=[Event("Normal", "Accepted", "It begins.")], **making)
        begins = observed.owner["status"] == UNSEEN
        return Plan(status={"phase": "Starting"}, events=[Event("Normal", "Starting", "It begins.")] if begins else [])

    async def test(cluster: Cluster) -> None:
        script = Script(decide)
        async with running(cluster, namespace, script) as parts:
            await until(lambda: script.shown and script.shown[-1].jobs)
            await parts.idle()
            assert (await parts.job())["status"] == {"phase": "Starting"}
        assert await cluster.get("Job", namespace, "dog-0") is not None
        assert await cluster.get("ConfigMap", namespace, "settings") is not None
        events, _ = await cluster.list("Event", namespace)
        own = [event for event in events if event["involvedObject"]["kind"] == "DreamBoothJob"]
        assert [(event["reason"], event["count"]) for event in own] == [("Starting", 1)]

    with_cluster(test)


@contextmanager
def recorded(cluster: Cluster) -> Iterator[list[str]]:
    """The requests of the block: `GET jobs/dog-0`, and `DRY-RUN jobs` for one that stores nothing."""
    requests: list[str] = []
    original = cluster._send

    async def send(method: str, path: str, **more: Any) -> bytes:
        verb = "DRY-RUN" if (more.get("query") or {}).get("dryRun") else method
        requests.append(f"{verb} {path.partition('/namespaces/')[2].partition('/')[2]}")
        return await original(method, path, **more)

    with patch.object(cluster, "_send", send):
        yield requests


def test_jobs_are_created_before_any_status_is_written_with_as_few_requests_as_necessary(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        parts = Running(cluster, namespace, reconcile)
        keys = [Key(namespace, f"dog-{number}") for number in range(3)]
        for key in keys:
            parts.store.put(await cluster.create(applied_job(namespace, key.name)))
        await cluster.create(config_map(Observed(owner=applied_job(namespace)), "photos", a="b"))
        parts.queue.add_all(keys)
        with recorded(cluster) as requests:
            task = asyncio.create_task(parts.controller.run())
            statuses = [f"PUT dreamboothjobs/{key.name}/status" for key in keys]
            await until(lambda: set(statuses) < set(requests))
            await parts.idle()
        parts.queue.close()
        await task
        jobs = [index for index, request in enumerate(requests) if request == "POST jobs"]
        assert len(jobs) == len(keys) and max(jobs) < min(map(requests.index, statuses)), requests
        first, second = (requests[: jobs[0]], requests[jobs[0] + 1 : jobs[1]])
        assert sorted(set(first) - set(second)) == [
            "DRY-RUN jobs",
            "DRY-RUN persistentvolumeclaims",
            *(request.replace("dog-1", "dog-0") for request in sorted(second) if "dog-1" in request),
        ]
        assert sorted(second) == [
            "GET configmaps/dog-1-config",
            "GET configmaps/photos",
            "GET jobs/dog-1-0",
            "GET networkpolicies/dog-1",
            "GET persistentvolumeclaims/dog-1",
            "PATCH configmaps/dog-1-config",
            "PATCH networkpolicies/dog-1",
            "POST persistentvolumeclaims",
        ]
        assert sorted(requests[jobs[-1] + 1 :]) == sorted([*statuses, *["POST events"] * len(keys)])

    with_cluster(test)


def test_all_objects_are_written_before_a_refusal_is_reported(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        owner = await cluster.create(applied_job(namespace))
        observed = Observed(owner=owner)
        parts = Running(cluster, namespace, reconcile)
        original = cluster.apply

        async def late(item: Object, timeout: float) -> Object:
            if item["metadata"]["name"] == "second":
                await asyncio.sleep(0.5)
            return await original(item, timeout)

        with patch.object(cluster, "apply", late), pytest.raises(WriteRefused, match="ConfigMap Not A Name: "):
            await parts.controller._writer.write_objects(
                owner,
                Plan(status={}, apply=[config_map(observed, "Not A Name"), config_map(observed, "second")]),
            )
        assert await cluster.get("ConfigMap", namespace, "second") is not None

    with_cluster(test)


def test_an_unchanged_status_is_not_written(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        async with running(cluster, namespace, Script(lambda observed: Plan(status={"phase": "Complete"}))) as parts:
            await parts.idle()
            written = await parts.job()
            for _ in range(5):
                parts.queue.add(parts.key)
                await parts.idle()
            assert await parts.job() == written

    with_cluster(test)


def test_referenced_objects_are_requested(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={}), asks={PHOTOS, Reference("PersistentVolumeClaim", "dog")})
        async with running(cluster, namespace, script) as parts:
            await parts.idle()
            assert set(script.shown[0].referenced.values()) == {None}
            await cluster.create(config_map(script.shown[0], "photos", a="b"))
            parts.queue.add(parts.key)
            await parts.idle()
            photos = script.shown[-1].referenced[PHOTOS]
            assert photos is not None and photos["metadata"]["name"] == "photos"

    with_cluster(test)


def test_a_refusal_is_reported_in_the_same_reconciliation_and_retried(namespace: str) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    mine = Reference("Job", "dog-0")

    def decide(observed: Observed) -> Plan:
        if observed.jobs:
            return Plan(status={"phase": "Starting"})
        status = {"phase": "Pending", **({"message": observed.refusals[mine]} if mine in observed.refusals else {})}
        return Plan(status=status, create=[attempt(observed)], requeue_after=0.3 if observed.refusals else None)

    async def test(cluster: Cluster) -> None:
        async with client.ApiClient(cluster.configuration) as api:
            core = client.CoreV1Api(api)
            await core.create_namespaced_resource_quota(namespace, quota)

            async def enforced() -> bool:
                found = await core.read_namespaced_resource_quota("none", namespace)
                return bool(found.status and found.status.hard)

            await until(enforced)
            script = Script(decide)
            async with running(cluster, namespace, script) as parts:
                await until(lambda: len(script.shown) >= 5)
                reported = await parts.job()
                assert "exceeded quota" in reported["status"]["message"]
                assert [bool(observed.refusals) for observed in script.shown[:3]] == [False, True, True]
                before = reported["metadata"]["resourceVersion"]
                await until(lambda: len(script.shown) >= 7)
                assert (await parts.job())["metadata"]["resourceVersion"] == before, "it is reported once"
                await core.delete_namespaced_resource_quota("none", namespace)
                await until(lambda: script.shown[-1].jobs)
                await parts.idle()
                assert (await parts.job())["status"] == {"phase": "Starting"}
                assert script.shown[-1].refusals == {}

    with_cluster(test)


async def made_in(cluster: Cluster, namespace: str) -> list[str]:
    """The kinds of the objects that the operator makes before a Job, as far as they exist."""
    names = {"ConfigMap": "dog-config", "NetworkPolicy": "dog", "PersistentVolumeClaim": "dog", "Job": "dog-0"}
    return [kind for kind, name in names.items() if await cluster.get(kind, namespace, name)]


INVALID: dict[str, tuple[str, Any]] = {
    # Neither the schema nor the operator alone limits the length of the domain.
    "resources": ("spec.resources.gpuResourceName", {"gpusPerNode": 1, "gpuResourceName": "a" * 254 + "/gpu"}),
    "scheduling": (
        "spec.scheduling.tolerations[0]",
        {"tolerations": [{"key": "a" * 254 + "/b", "operator": "Exists"}]},
    ),
}


@pytest.mark.parametrize("section", INVALID)
def test_an_object_that_can_never_be_created_is_final_and_no_other_is_kept(namespace: str, section: str) -> None:
    field, value = INVALID[section]

    async def test(cluster: Cluster) -> None:
        parts = Running(cluster, namespace, reconcile)
        job = applied_job(namespace)
        await cluster.create(config_map(Observed(owner=job), "photos", a="b"))
        # Objects that differ in more than the name have to be checked again.
        parts.store.put(await cluster.create(applied_job(namespace, "cat")))
        assert await parts.controller._reconcile(Key(namespace, "cat")) == 0
        job["spec"][section] = value
        parts.store.put(await cluster.create(job))
        await parts.controller._reconcile(parts.key)
        status = (await parts.job())["status"]
        reasons = {one["type"]: one["reason"] for one in status["conditions"]}
        assert (status["phase"], reasons["Failed"], reasons["Accepted"]) == ("Failed", "InvalidConfig", "InvalidConfig")
        assert status["message"].startswith(f"{field}: ")
        assert "makes Job dog-0 invalid (spec.template.spec." in status["message"]
        assert await made_in(cluster, namespace) == []
        parts.store.put(await parts.job())
        assert await parts.controller._reconcile(parts.key) is None
        assert await made_in(cluster, namespace) == []

    with_cluster(test)


def test_an_admission_policy_is_not_final_although_it_calls_a_job_invalid(namespace: str, cluster: Kubectl) -> None:
    matched = {
        "resourceRules": [
            {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
        ]
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {"matchConstraints": matched, "validations": [{"expression": "false", "message": "no Jobs today"}]},
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {
            "policyName": namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }

    async def test(client: Cluster) -> None:
        parts = Running(client, namespace, reconcile)
        parts.store.put(await client.create(applied_job(namespace)))
        await client.create(config_map(Observed(owner=await parts.job()), "photos", a="b"))
        trial = attempt(Observed(owner=await parts.job()), "trial")

        async def denied() -> bool:
            try:
                await client.check(trial)
            except ClusterError as error:
                assert (error.status, list(error.invalid_fields)) == (422, [])
                return True
            return False

        await until(denied)
        await parts.controller._reconcile(parts.key)
        status = (await parts.job())["status"]
        assert (status["phase"], status["conditions"][0]["reason"]) == ("Pending", "Sound"), status
        assert "no Jobs today" in status["message"]
        assert await client.get("Job", namespace, "trial") is None

    for item in (policy, binding):
        cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(item))
    try:
        with_cluster(test)
    finally:
        for item in (binding, policy):
            cluster.kubectl("delete", str(item["kind"]), namespace)


NO_VOLUME: dict[str, tuple[dict[str, Any], str]] = {
    "no-class": (
        {"output": {"create": {"storageClassName": "no-such-class"}}},
        'PersistentVolumeClaim dog has no volume: storageclass.storage.k8s.io "no-such-class" not found.',
    ),
    "no-volume": (
        {"output": {"create": {"storageClassName": ""}}},
        "PersistentVolumeClaim dog has no volume: no persistent volumes available for this claim and no storage class is set.",
    ),
    "cache": (
        {"output": {"claimName": "elsewhere"}, "cache": {"claimName": "shelf"}},
        "PersistentVolumeClaim shelf has no volume: Cannot bind to requested volume",
    ),
}


@pytest.mark.parametrize("name", NO_VOLUME)
def test_a_claim_that_does_not_bind_is_reported_with_its_event(
    namespace: str, cluster: Kubectl, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (event_lookups, diagnosis):
        monkeypatch.setattr(module, "GRACE_PERIOD", timedelta(seconds=2))
    volumes, words = NO_VOLUME[name]
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "none",
    }
    shelf = {**claim, "volumeName": namespace, "storageClassName": "another"}
    elsewhere = {**claim, "volumeName": f"{namespace}-elsewhere", "storageClassName": ""}
    claims = {"elsewhere": elsewhere, "shelf": shelf} if "cache" in volumes else {}

    def volume(name: str) -> dict[str, Any]:
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/pretended"}}
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}

    made = [volume(spec["volumeName"]) for spec in claims.values()]

    async def test(client: Cluster) -> None:
        parts = Running(client, namespace, reconcile)
        job = applied_job(namespace)
        job["spec"]["volumes"] = volumes
        for item, spec in claims.items():
            metadata = {"name": item, "namespace": namespace}
            await client.create(
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
            )
        parts.store.put(await client.create(job))
        await client.create(config_map(Observed(owner=job), "photos", a="b"))

        async def reported() -> bool:
            for pod in (await client.list("Pod", namespace))[0]:
                parts.store.put(pod)
            with suppress(ClusterError):
                await parts.controller._reconcile(parts.key)
            status = (await parts.job()).get("status", {})
            return words in status.get("message", "") and status["phase"] == "Pending"

        await until(reported)

    for item in made:
        cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(item))
    try:
        with_cluster(test)
    finally:
        for item in made:
            cluster.kubectl("delete", "pv", item["metadata"]["name"], "--wait=false")


def test_an_existing_object_is_left_unchanged_and_checked_again(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={}, create=[attempt(observed)]))
        parts = Running(cluster, namespace, script)
        parts.store.put(await cluster.create(applied_job(namespace)))
        theirs = await cluster.create(
            {
                **attempt(Observed(owner=await parts.job())),
                "metadata": {"name": "dog-0", "namespace": namespace},
            }
        )
        assert await parts.controller._reconcile(parts.key) == EXISTED_SECONDS
        found = await cluster.get("Job", namespace, "dog-0")
        assert found is not None and found["metadata"]["uid"] == theirs["metadata"]["uid"]
        assert "ownerReferences" not in found["metadata"]

    with_cluster(test)


def test_a_foreign_job_with_the_same_name_is_reported_and_left_unchanged(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        parts = Running(cluster, namespace, reconcile)
        parts.store.put(await cluster.create(applied_job(namespace)))
        seen = Observed(owner=await parts.job())
        await cluster.create(config_map(seen, "photos", a="b"))
        theirs = await cluster.create({**attempt(seen), "metadata": {"name": "dog-0", "namespace": namespace}})
        assert await parts.controller._reconcile(parts.key) == RECHECK.total_seconds()
        status = (await parts.job())["status"]
        assert status["phase"] == "Pending"
        assert status["message"].startswith("Job dog-0 already exists and was not created by the operator")
        found = await cluster.get("Job", namespace, "dog-0")
        assert found is not None and found["metadata"]["uid"] == theirs["metadata"]["uid"]
        assert await cluster.get("PersistentVolumeClaim", namespace, "dog") is None

    with_cluster(test)


def test_a_new_status_of_a_job_is_seen_by_its_scenes_at_once(namespace: str) -> None:
    """The watch of the operator's own write reports nothing new."""

    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={"phase": "Complete"}))
        async with running(cluster, namespace, script) as parts:
            await parts.idle()
            made = scene(namespace, "beach", jobName="dog")
            parts.store.put(await cluster.create(made))
            script.decide = lambda observed: Plan(status={"phase": "Failed"})
            parts.queue.add(parts.key)
            key = Key(namespace, "beach", "DreamBoothScene")
            await until(lambda: (parts.store.owner(key) or {}).get("status") == {"phase": "Failed"})
            assert script.shown[-1].trained == parts.store.owner(parts.key)

    with_cluster(test)


def test_a_reconciliation_of_an_outdated_object_is_retried(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={"observedGeneration": observed.owner["metadata"]["generation"]}))
        parts = Running(cluster, namespace, script)
        made = await cluster.create(applied_job(namespace))
        changed = await cluster.replace({**made, "spec": {**made["spec"], "suspend": True}})
        parts.store.put(made)
        parts.queue.add(parts.key)
        task = asyncio.create_task(parts.controller.run())
        await until(lambda: len(script.shown) >= 2)
        assert (await parts.job())["status"] == UNSEEN, "a decision with an outdated object"
        parts.store.put(changed)
        expected = {"observedGeneration": 2}
        await until(lambda: (parts.store.owner(parts.key) or {}).get("status") == expected)
        assert (await parts.job())["status"] == expected
        parts.queue.close()
        await task

    with_cluster(test)


def test_the_status_is_written_before_anything_is_deleted_and_not_deleted_if_that_fails(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        gone = Reference("ConfigMap", "photos")
        script = Script(lambda observed: Plan(status={"phase": "Complete"}, delete=[gone]), asks={gone})
        parts = Running(cluster, namespace, script)
        made = await cluster.create(applied_job(namespace))
        await cluster.create(config_map(Observed(owner=made), "photos"))
        await cluster.replace({**made, "spec": {**made["spec"], "suspend": True}})
        parts.store.put(made)
        parts.queue.add(parts.key)
        task = asyncio.create_task(parts.controller.run())
        await until(lambda: len(script.shown) >= 2)
        assert await cluster.get("ConfigMap", namespace, "photos") is not None
        parts.store.put(await parts.job())

        async def deleted() -> bool:
            return await cluster.get("ConfigMap", namespace, "photos") is None

        await until(deleted)
        assert (await parts.job())["status"] == {"phase": "Complete"}
        parts.queue.close()
        await task

    with_cluster(test)


def test_without_the_lease_nothing_is_written(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={"phase": "Pending"}, create=[attempt(observed)]))
        async with running(cluster, namespace, script) as parts:
            parts.lease.mine = False
            await until(lambda: len(script.shown) >= 3)
            assert (await parts.job())["status"] == UNSEEN
            assert await cluster.get("Job", namespace, "dog-0") is None
            parts.lease.mine = True
            await until(lambda: parts.store.jobs(parts.key))

    with_cluster(test)


def test_an_exception_in_the_reconciler_does_not_stop_the_workers(namespace: str) -> None:
    def decide(observed: Observed) -> Plan:
        if len(script.shown) < 3:
            raise KeyError("an unexpected field")
        return Plan(status={"phase": "Pending"})

    script = Script(decide)

    async def test(cluster: Cluster) -> None:
        async with running(cluster, namespace, script) as parts:
            await until(lambda: (parts.store.owner(parts.key) or {}).get("status") == {"phase": "Pending"})
            assert len(script.shown) == 3

    with_cluster(test)


def test_the_same_event_is_one_object_with_a_count(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={}, events=[Event("Warning", "Retrying", "Once more.")]))
        async with running(cluster, namespace, script) as parts:
            for _ in range(3):
                await parts.idle()
                parts.queue.add(parts.key)
            await parts.idle()
        events, _ = await cluster.list("Event", namespace)
        assert [(event["reason"], event["count"], event["type"]) for event in events] == [("Retrying", 4, "Warning")]

    with_cluster(test)


def test_a_deleted_dreamboothjob_is_forgotten(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        script = Script(lambda observed: Plan(status={}))
        async with running(cluster, namespace, script) as parts:
            await parts.idle()
            parts.queue.add(Key(namespace, "never-was"))
            await parts.idle()
            assert len(script.shown) == 1

    with_cluster(test)


@pytest.mark.timed
def test_a_write_ends_before_the_lease_expires(
    kubeconfig: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with network(kubeconfig, tmp_path) as (wire, path):
            monkeypatch.setenv("KUBECONFIG", str(path))
            cluster = await Cluster.connect()
            parts = Running(cluster, namespace, Script(lambda observed: Plan(status={})))
            owner = await cluster.create(applied_job(namespace))
            item = config_map(Observed(owner=owner))
            writer = parts.controller._writer
            parts.lease.seconds = 2.0
            wire.hang()
            writes: list[Callable[[], Coroutine[Any, Any, Any]]] = [
                lambda: writer.write_objects(owner, Plan(status={}, apply=[item])),
                lambda: writer.write_objects(owner, Plan(status={}, create=[item])),
                lambda: writer.write_status(owner, {"phase": "Pending"}),
                lambda: writer.delete(Reference("ConfigMap", "settings"), Observed(owner=owner)),
            ]
            for write in writes:
                begun = time.monotonic()
                with pytest.raises(ClusterError):
                    await write()
                assert time.monotonic() - begun < parts.lease.seconds
            await cluster.close()

    asyncio.run(test())
