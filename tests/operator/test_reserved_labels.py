"""The ValidatingAdmissionPolicy that reserves labels, in a real API server."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.objects.names import LABEL_JOB
from tests.conftest import Cluster
from tests.operator.clusters import applied_job, until
from tests.operator.operators import operator
from tests.permissions import admission_policies, kubeconfig_of

RESERVED = {LABEL_JOB: "dog"}


@pytest.fixture
def release(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of the operator's ServiceAccount, and the policy in its namespace."""
    with admission_policies(cluster, f"labels-{namespace}", namespace, "reservedLabels.enabled=true"):
        yield kubeconfig_of(cluster, f"labels-{namespace}", namespace, tmp_path)


def pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    spec = {"containers": [{"name": "trainer", "image": "trainer"}], "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def job(name: str, labels: dict[str, str], of_pods: dict[str, str]) -> dict[str, Any]:
    template = {"metadata": {"labels": of_pods}, "spec": pod("", {})["spec"]}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}


def test_only_the_operator_and_the_job_controller_set_reserved_labels(
    cluster: Cluster, namespace: str, release: Path
) -> None:
    here = f"--namespace={namespace}"

    def refused(item: dict[str, Any]) -> bool:
        try:
            cluster.kubectl("create", "--dry-run=server", "--filename=-", here, stdin=json.dumps(item))
        except AssertionError as error:
            return "are reserved to dreambooth-operator" in str(error)
        return False

    def pods() -> list[dict[str, Any]]:
        return cluster.items("pods", here)

    async def test() -> None:
        await until(lambda: refused(pod("forged", RESERVED)))
        assert refused(job("forged", RESERVED, {}))
        assert refused(job("forged", {}, RESERVED)), "the Job controller would copy them"
        assert refused(pod("forged", {"dreambooth.io/anything": "x"}))
        for own in (pod("own", {"app": "x"}), job("own", {}, {"app": "x"})):
            assert not refused(own)
            cluster.kubectl("create", "--filename=-", here, stdin=json.dumps(own))
        with pytest.raises(AssertionError, match="are reserved"):
            cluster.kubectl("label", "pod", "own", f"{LABEL_JOB}=dog", here)
        cluster.kubectl("label", "pod", "own", "app=y", "--overwrite", here)
        cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", here)
        async with operator(release, namespace, lease_name=f"labels-{namespace}"):
            cluster.kubectl("create", "--filename=-", stdin=json.dumps(applied_job(namespace)))
            await until(lambda: [one for one in pods() if LABEL_JOB in one["metadata"]["labels"]])
            (trainer,) = [one for one in pods() if LABEL_JOB in one["metadata"]["labels"]]
            with pytest.raises(AssertionError, match="are reserved"):
                cluster.kubectl("label", "pod", trainer["metadata"]["name"], f"{LABEL_JOB}-", here)
            cluster.kubectl("label", "pod", trainer["metadata"]["name"], "app=y", here)

    asyncio.run(test())
