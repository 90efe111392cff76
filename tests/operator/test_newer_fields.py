"""An operator and a newer CustomResourceDefinition with a new field, which some DreamBoothJobs have."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dreambooth_api.runtime import RUNTIME_KIND
from dreambooth_api.workload import API_VERSION
from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.operator.pretended_node import PretendedNode

FIELD = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/notify"
SCHEMA = {"type": "object", "properties": {"channel": {"type": "string"}}}
NEW = {"notify": {"channel": "team"}}


@pytest.fixture
def cluster(own_cluster: Cluster) -> Cluster:
    """A control plane whose definitions may change, and where a runtime without a selector disturbs no other test."""
    return own_cluster


@pytest.fixture
def kubeconfig(own_cluster: Cluster) -> Path:
    """The kubeconfig of its administrator."""
    return own_cluster.kubeconfig


@contextmanager
def newer_definition(cluster: Cluster, plural: str = "dreamboothjobs") -> Iterator[None]:
    def patch(operation: dict[str, Any]) -> None:
        cluster.kubectl("patch", "crd", f"{plural}.dreambooth.io", "--type=json", f"--patch={json.dumps([operation])}")

    patch({"op": "add", "path": FIELD, "value": SCHEMA})
    try:
        yield
    finally:
        patch({"op": "remove", "path": FIELD})


@pytest.mark.slow
def test_an_older_operator_keeps_attempts_running_and_starts_none(
    cluster: Cluster, kubeconfig: Path, namespace: str, pretended: PretendedNode
) -> None:
    here = f"--namespace={namespace}"

    def found(kind: str) -> list[dict[str, Any]]:
        return cluster.items(kind, f"--namespace={namespace}")

    def accepted(name: str) -> tuple[str, str, str]:
        (job,) = [one for one in found("dreamboothjobs") if one["metadata"]["name"] == name]
        conditions = {one["type"]: one for one in job.get("status", {}).get("conditions", [])}
        if "Accepted" not in conditions:
            return "", "", ""
        return job["status"]["phase"], conditions["Accepted"]["status"], conditions["Accepted"]["reason"]

    def adds_the_field(name: str) -> bool:
        """Whether the API server keeps the field, which takes a moment after the change of the definition."""
        patch = f"--patch={json.dumps({'spec': NEW})}"
        cluster.kubectl("patch", "dreamboothjob", name, "--type=merge", patch, here)
        return any(one["metadata"]["name"] == name and "notify" in one["spec"] for one in found("dreamboothjobs"))

    async def test() -> None:
        job = applied_job(namespace)
        job["spec"]["scheduling"] = pretended.scheduling
        cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", here)
        async with operator(kubeconfig, namespace):
            cluster.kubectl("create", "--filename=-", stdin=json.dumps(job))
            (pod,) = await until(lambda: [one for one in found("pods") if "nodeName" in one["spec"]])
            pretended.run(pod)
            await until(lambda: accepted("dog")[0] == "Running")
        with newer_definition(cluster):
            await until(lambda: adds_the_field("dog"))
            async with operator(kubeconfig, namespace):
                await until(lambda: accepted("dog") == ("Running", "False", "NewerSpec"))
                cat = applied_job(namespace, "cat")
                cluster.kubectl("create", "--filename=-", stdin=json.dumps({**cat, "spec": cat["spec"] | NEW}))
                await until(lambda: accepted("cat") == ("Pending", "False", "NewerSpec"))
                assert [one["metadata"]["name"] for one in found("jobs")] == ["dog-0"]
                assert "deletionTimestamp" not in found("jobs")[0]["metadata"]
        await until(lambda: "notify" not in found("dreamboothjobs")[0]["spec"])
        async with operator(kubeconfig, namespace):
            await until(lambda: accepted("dog") == ("Running", "True", "Sound"))
            await until(lambda: accepted("cat")[1:] == ("True", "Sound"))
            await until(lambda: [one["metadata"]["name"] for one in found("jobs")] == ["cat-0", "dog-0"])
            assert [one["metadata"]["uid"] for one in found("pods")][-1] == pod["metadata"]["uid"]

    asyncio.run(test())


def test_a_runtime_for_a_newer_operator_is_not_accepted(cluster: Cluster, kubeconfig: Path, namespace: str) -> None:
    metadata = {"name": namespace}
    runtime = {"apiVersion": API_VERSION, "kind": RUNTIME_KIND, "metadata": metadata, "spec": {"limits": {"steps": 9}}}
    change = "patch", "dbr", namespace, "--type=merge"

    def accepted() -> tuple[str, str, bool]:
        item = json.loads(cluster.kubectl("get", "dbr", namespace, "--output=json"))
        for one in item.get("status", {}).get("conditions", []):
            assert one["type"] == "Accepted"
            return one["status"], one["message"], one["observedGeneration"] == item["metadata"]["generation"]
        return "", "", False

    async def test() -> None:
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(runtime))
        with newer_definition(cluster, "dreamboothruntimes"):
            patch = f"--patch={json.dumps({'spec': NEW})}"
            await until(lambda: '"notify"' in cluster.kubectl(*change, patch, "--output=json"))
            async with operator(kubeconfig, namespace):
                # Operators of other tests may have judged the spec before.
                await until(lambda: (accepted()[0], accepted()[2]) == ("False", True))
                assert accepted()[1].startswith("spec.notify: {'channel': 'team'} is an unknown field.")
                cluster.kubectl(*change, '--patch={"spec":{"notify":null}}')
                await until(lambda: accepted() == ("True", "The spec is valid.", True))
                assert "True" in cluster.kubectl("get", "dbr", namespace, "--no-headers")

    try:
        asyncio.run(test())
    finally:
        cluster.kubectl("delete", "dbr", namespace, "--ignore-not-found")
