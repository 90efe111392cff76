"""What the operator needs is deleted: the CustomResourceDefinitions, and the namespace of a DreamBoothJob."""

import asyncio
import json
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.kube.client import Cluster
from tests.cluster.layout import ROOT
from tests.conftest import Cluster as Kubectl
from tests.docs.written import commands
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.patience import PATIENCE
from tests.pretended_kubelet import pretended_kubelet

pytestmark = pytest.mark.slow


def test_the_deletion_of_the_definitions_ends_the_operator_which_waits_for_them(own_cluster: Kubectl) -> None:
    async def test() -> None:
        async with operator(own_cluster.kubeconfig, "default") as one:
            await one.said("acquired the Lease")
            own_cluster.kubectl("delete", "--filename", ROOT / "crds")
            await one.said("does not exist any more; the operator waits for it after its restart")
            assert await asyncio.wait_for(one.process.wait(), PATIENCE) == 1
            assert "Traceback" not in "\n".join(one.lines)
        async with operator(own_cluster.kubeconfig, "default") as one:
            await one.said("waiting for the CustomResourceDefinitions")
            own_cluster.kubectl("apply", "--server-side", "--filename", ROOT / "crds")
            await one.said("acquired the Lease")

    asyncio.run(test())


def test_no_attempt_starts_in_a_namespace_that_is_being_deleted(
    own_cluster: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer keeps the DreamBoothJob while the namespace is already terminating."""
    monkeypatch.setenv("KUBECONFIG", str(own_cluster.kubeconfig))
    kubectl = own_cluster.kubectl

    async def test() -> None:
        client = await Cluster.connect()
        job: dict[str, Any] = applied_job("leaving")
        kubectl("create", "namespace", "leaving")
        kubectl("--namespace=leaving", "create", "configmap", "photos")
        # While a pod terminates, Kubernetes deletes nothing else in its namespace.
        container = {"name": "one", "image": "one"}
        spec = {"nodeName": "none", "terminationGracePeriodSeconds": 600, "containers": [container]}
        metadata = {"name": "slow", "namespace": "leaving", "finalizers": ["example.org/slow"]}
        kubectl(
            "create",
            "--filename=-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        )
        await client.create(job)
        kubectl("delete", "namespace", "leaving", "--wait=false")

        async def status() -> dict[str, Any]:
            found = await client.get("DreamBoothJob", "leaving", "dog")
            return dict(found.get("status", {})) if found else {}

        async with operator(own_cluster.kubeconfig, "default", namespaces="leaving") as one:

            async def told() -> bool:
                reasons = [entry["reason"] for entry in (await status()).get("conditions", ())]
                return "NamespaceTerminating" in reasons

            await until(told)
            assert (await status())["attempts"] == []
            assert [line for line in one.lines if "Starting" in line or "WARNING" in line] == []
        kubectl(
            "--namespace=leaving", "patch", "pod", "slow", "--type=merge", '--patch={"metadata":{"finalizers":null}}'
        )
        kubectl("--namespace=leaving", "delete", "pod", "slow", "--force", "--grace-period=0", "--ignore-not-found")
        await client.close()

    asyncio.run(test())


@pytest.mark.timed
def test_a_namespace_whose_dreamboothjobs_were_deleted_first_goes_without_the_wait(
    own_cluster: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/tenancy.md: with a running pod, Kubernetes alone would wait for 151 seconds."""
    monkeypatch.setenv("KUBECONFIG", str(own_cluster.kubeconfig))
    first, second = (shlex.split(one) for one in commands(Path("docs/tenancy.md")) if one.startswith("kubectl delete"))
    namespace = second[-1]
    own_cluster.kubectl("create", "namespace", namespace)
    own_cluster.kubectl("--namespace", namespace, "create", "configmap", "photos")

    async def test() -> None:
        client = await Cluster.connect()
        async with operator(own_cluster.kubeconfig, "default", namespaces=namespace) as one:
            await client.create(applied_job(namespace))
            volume = {
                "capacity": {"storage": "1Ti"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/pretended"},
            }
            volume |= {"claimRef": {"namespace": namespace, "name": "dog"}}
            item = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": volume}
            own_cluster.kubectl("create", "--filename=-", stdin=json.dumps(item))

            def runs() -> bool:
                pods = own_cluster.items("pods", f"--namespace={namespace}")
                return [pod["status"]["phase"] for pod in pods] == ["Running"]

            await until(runs)
            own_cluster.kubectl(*first[1:])
            begun = time.monotonic()
            own_cluster.kubectl(*second[1:])
            assert time.monotonic() - begun < 120
            assert [line for line in one.lines if "attempt 1" in line] == []
        await client.close()

    with pretended_kubelet(own_cluster, namespace):
        asyncio.run(test())
