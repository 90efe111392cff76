"""Following a workload over outages, and with credentials that expire."""

import asyncio
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dreambooth_api.job import KIND
from dreambooth_client.cluster.following import followed
from dreambooth_client.cluster.session import connected
from dreambooth_client.errors import ClusterFailure
from dreambooth_client.seen import Target
from tests.conftest import Cluster
from tests.operator.clusters import applied_job, network, until

REX = Target(KIND, "rex")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace with a DreamBoothJob."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(applied_job(name, "rex")))
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def write_phase(cluster: Cluster, namespace: str, phase: str) -> None:
    patch = json.dumps({"status": {"phase": phase}})
    place = f"--namespace={namespace}"
    cluster.kubectl("patch", "dbj", "rex", place, "--subresource=status", "--type=merge", f"--patch={patch}")


def test_an_outage_is_waited_for(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with network(cluster.kubeconfig, tmp_path) as (broken, path):
            monkeypatch.setenv("KUBECONFIG", str(path))
            phases: list[str] = []
            said: list[str] = []

            async def follow() -> None:
                async with connected(namespace=namespace) as session:
                    async for seen in followed(session, REX, said.append):
                        phases.append(seen.phase)

            task = asyncio.create_task(follow())
            await until(lambda: phases)
            broken.break_off()
            await until(lambda: said)
            await asyncio.to_thread(write_phase, cluster, namespace, "Complete")
            broken.heal()
            await task
            assert phases[-1] == "Complete" and set(phases[:-1]) == {"Pending"}
            assert len(said) == 1 and said[0].startswith("the API server does not answer")

    asyncio.run(run())


def test_a_workload_that_is_deleted_meanwhile_is_named(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        async with connected(namespace=namespace) as session:
            async for _ in followed(session, REX, print):
                await asyncio.to_thread(cluster.kubectl, "delete", "dbj", "rex", f"--namespace={namespace}")

    with pytest.raises(ClusterFailure, match="rex does not exist"):
        asyncio.run(run())


PLUGIN = """
import json, sys
with open(sys.argv[1], "a") as calls:
    calls.write("called\\n")
status = {"token": sys.argv[2], "expirationTimestamp": "2020-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""
"""Gives credentials that have expired already when the next request is sent."""


def test_credentials_of_a_plugin_are_renewed(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    (user,) = document["users"]
    (tmp_path / "plugin.py").write_text(PLUGIN)
    plugin = [str(tmp_path / "plugin.py"), str(tmp_path / "calls"), user["user"].pop("token")]
    version = "client.authentication.k8s.io/v1"
    user["user"]["exec"] = {
        "apiVersion": version,
        "command": sys.executable,
        "args": plugin,
        "interactiveMode": "Never",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    async def run() -> None:
        async with connected(namespace=namespace) as session:
            number = 0
            async for _ in followed(session, REX, print):
                number += 1
                if number == 2:
                    await asyncio.to_thread(write_phase, cluster, namespace, "Complete")

    asyncio.run(run())
    assert len((tmp_path / "calls").read_text().splitlines()) >= 3
