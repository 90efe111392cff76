"""An operator lives longer than the tokens of its ServiceAccount, in a real API server."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.cluster.layout import ROOT
from tests.conftest import Cluster
from tests.operator.clusters import applied_job, network, until
from tests.operator.operators import operator
from tests.permissions import access_of

REFRESH_SECONDS = 60
"""After this time, the client library reads the token again."""
REVOCATION_SECONDS = 10
"""Longest time for which the API server accepts a token that has been revoked."""


def new_token(cluster: Cluster, namespace: str, account: str, number: int) -> str:
    """A token that is valid until the Secret with the number is deleted."""
    here = f"--namespace={namespace}"
    cluster.kubectl("create", "secret", "generic", f"token-{number}", here)
    bound = "--bound-object-kind=Secret", f"--bound-object-name=token-{number}"
    return cluster.kubectl("create", "token", account, here, *bound).strip()


def replace(file: Path, text: str) -> None:
    """Replaces a file as the kubelet does."""
    staging = file.with_suffix(".new")
    staging.write_text(text)
    staging.rename(file)


@pytest.mark.slow
def test_an_operator_outlives_its_tokens(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    account, here = f"tokens-{namespace}", f"--namespace={namespace}"
    access = access_of(cluster, account, namespace, f"namespaces={{{namespace}}}")
    cluster.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(access))
    cluster.kubectl("create", "configmap", "photos", "--from-literal=dog.jpg=x", here)
    authority = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority"]
    (tmp_path / "ca.crt").write_bytes(Path(authority).read_bytes())

    async def starts(name: str) -> None:
        """A DreamBoothJob gets a Job, and its status says so."""
        cluster.kubectl("create", "--filename=-", stdin=json.dumps(applied_job(namespace, name)))
        await until(lambda: f"{name}-0" in [job["metadata"]["name"] for job in cluster.items("jobs", here)])
        await until(phase_is(name, "Pending", "Starting"))

    def phase_is(name: str, *phases: str) -> Callable[[], bool]:
        return lambda: any(
            job["metadata"]["name"] == name and job.get("status", {}).get("phase") in phases
            for job in cluster.items("dreamboothjobs", here)
        )

    async def test() -> None:
        async with network(cluster.kubeconfig, tmp_path) as (net, through):
            address = urlsplit(yaml.safe_load(through.read_text())["clusters"][0]["cluster"]["server"])
            variables = {"KUBERNETES_SERVICE_HOST": address.hostname, "KUBERNETES_SERVICE_PORT": str(address.port)}
            replace(tmp_path / "token", new_token(cluster, namespace, account, 0))
            command = [sys.executable, str(ROOT / "tests" / "operator" / "in_a_pod.py"), str(tmp_path)]
            async with operator(None, namespace, command=command, variables=variables, lease_name=account) as running:
                await starts("first")
                for number in (1, 2):
                    replace(tmp_path / "token", new_token(cluster, namespace, account, number))
                    await asyncio.sleep(REFRESH_SECONDS + 1)
                    cluster.kubectl("delete", "secret", f"token-{number - 1}", here)
                    await asyncio.sleep(REVOCATION_SECONDS + 1)
                    # The watches must connect again.
                    net.break_off()
                    net.heal()
                    await starts(f"dog-{number}")
                assert running.process.returncode is None
                assert await running.metric("leader") == 1

    asyncio.run(test())
