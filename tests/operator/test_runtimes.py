"""Runtimes and queues in a real control plane, with the operator as it runs in a cluster: limited to one namespace."""

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreambooth_operator.kube.client import Cluster
from dreambooth_operator.objects.names import LABEL_QUEUE, LABEL_RUNTIME, LABEL_WORKLOAD_PRIORITY
from dreambooth_operator.objects.observed import Object, Reference
from tests.cluster.layout import ROOT
from tests.conftest import Cluster as Kubectl
from tests.docs.written import commands
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator


async def reason(client: Cluster, namespace: str) -> str | None:
    job = await client.get("DreamBoothJob", namespace, "dog")
    conditions = job.get("status", {}).get("conditions", ()) if job else ()
    return next((str(one["reason"]) for one in conditions if one["type"] == "Running"), None)


async def becomes(client: Cluster, namespace: str, word: str) -> None:
    async def reported() -> bool:
        return await reason(client, namespace) == word

    await until(reported)


def runtime(namespace: str, **spec: Any) -> Object:
    """A runtime that serves only one namespace: other tests share the cluster."""
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [namespace]}
    selector = {"namespaceSelector": {"matchExpressions": [only]}}
    return {
        "apiVersion": "dreambooth.io/v1alpha1",
        "kind": "DreamBoothRuntime",
        "metadata": {"name": namespace},
        "spec": {**selector, **spec},
    }


KUEUE: dict[str, Any] = {"queueNames": ["team", "urgent"], "workloadPriorityClassNames": ["high"]}


@pytest.mark.slow
def test_runtimes_are_watched_with_a_single_namespace(kubeconfig: Path, namespace: str, cluster: Kubectl) -> None:
    cluster.kubectl("--namespace", namespace, "create", "configmap", "photos")

    async def test() -> None:
        client = await Cluster.connect()
        job = applied_job(namespace)
        job["spec"]["runtime"] = namespace
        async with operator(kubeconfig, namespace) as one:
            await client.create(job)
            await becomes(client, namespace, "RuntimeNotFound")
            await client.create(runtime(namespace, image="registry/trainer:7"))
            await becomes(client, namespace, "Starting")
            assert "Traceback" not in "\n".join(one.lines)
        made = await client.get("Job", namespace, "dog-0")
        assert made is not None and made["metadata"]["labels"][LABEL_RUNTIME] == namespace
        assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/trainer:7"
        await client.close()

    try:
        asyncio.run(test())
    finally:
        cluster.kubectl("delete", "dreamboothruntime", namespace, "--ignore-not-found")


def test_the_job_has_the_fields_for_kueue_and_keeps_its_changes(
    kubeconfig: Path, namespace: str, cluster: Kubectl
) -> None:
    """A fake of Kueue: it admits a suspended Job with the node selector of a flavor, and evicts it."""
    cluster.kubectl("--namespace", namespace, "create", "configmap", "photos")
    flavor = '{"spec":{"suspend":false,"template":{"spec":{"nodeSelector":{"flavor":"h200"}}}}}'
    patch = ("--namespace", namespace, "patch", "job", "dog-0", "--type=merge")

    async def test() -> None:
        client = await Cluster.connect()
        job = applied_job(namespace)
        job["spec"]["scheduling"] = {"queueName": "team"}
        async with operator(kubeconfig, namespace, resync_seconds=1):
            await client.create(job)
            await becomes(client, namespace, "Queued")
            made = await client.get("Job", namespace, "dog-0")
            assert made is not None and made["spec"]["suspend"] is True
            assert made["metadata"]["labels"][LABEL_QUEUE] == "team"
            cluster.kubectl(*patch, f"--patch={flavor}")
            await becomes(client, namespace, "Starting")
            change = '--patch={"spec":{"retries":5}}'
            cluster.kubectl("--namespace", namespace, "patch", "dbj", "dog", "--type=merge", change)
            await asyncio.sleep(3)
            admitted = await client.get("Job", namespace, "dog-0")
            assert admitted is not None and admitted["metadata"]["uid"] == made["metadata"]["uid"]
            assert admitted["spec"]["suspend"] is False
            assert admitted["spec"]["template"]["spec"]["nodeSelector"] == {"flavor": "h200"}
            cluster.kubectl(*patch, '--patch={"spec":{"suspend":true}}')
            await becomes(client, namespace, "Queued")
        await client.delete(Reference("DreamBoothJob", "dog"), namespace, None)
        await client.close()

    asyncio.run(test())


def test_a_suspended_dreamboothjob_moves_to_another_queue(kubeconfig: Path, namespace: str, cluster: Kubectl) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl(here, "create", "configmap", "photos")

    move, resume = (shlex.split(command)[1:] for command in commands(Path("docs/tenancy.md")) if "patch" in command)

    async def test() -> None:
        client = await Cluster.connect()
        job = applied_job(namespace)
        job["spec"]["scheduling"] = {"queueName": "team"}
        async with operator(kubeconfig, namespace):
            await client.create(job)
            await becomes(client, namespace, "Queued")
            cluster.kubectl(here, *move)
            await becomes(client, namespace, "Suspended")
            cluster.kubectl(here, *resume)
            await becomes(client, namespace, "Queued")
        labels = cluster.items("jobs", here)[0]["metadata"]["labels"]
        assert (labels[LABEL_QUEUE], labels[LABEL_WORKLOAD_PRIORITY]) == ("urgent", "high")
        await client.close()

    cluster.kubectl("create", "--filename=-", stdin=json.dumps(runtime(namespace, default=True, **KUEUE)))
    try:
        asyncio.run(test())
    finally:
        cluster.kubectl("delete", "dreamboothruntime", namespace)


def test_the_api_server_accepts_the_examples_of_the_docs(namespace: str, cluster: Kubectl) -> None:
    text = (ROOT / "docs" / "tenancy.md").read_text()
    blocks = "\n---\n".join(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    taken = [item for item in yaml.safe_load_all(blocks) if not item["apiVersion"].startswith("kueue.")]
    assert [item["kind"] for item in taken] == ["DreamBoothRuntime"] * 2 + ["ResourceQuota", "LimitRange"]
    for item in taken:
        item["metadata"] |= {"namespace": namespace} if "namespace" in item["metadata"] else {}
        given = yaml.safe_dump(item)
        cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=given)
