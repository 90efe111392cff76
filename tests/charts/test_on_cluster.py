"""The chart with a real API server: all objects are accepted, pods are restricted, and roles are aggregated."""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.charts.rendered import CASES, Objects, of_kind, pods_of, values_of
from tests.conftest import Cluster
from tests.patience import PATIENCE

Render = Callable[[Mapping[str, Any]], Objects]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def restricted(cluster: Cluster) -> Iterator[str]:
    """A namespace that enforces the `restricted` Pod Security Standard."""
    name = f"chart-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def try_out(cluster: Cluster, namespace: str, item: Mapping[str, Any]) -> None:
    """Applies an object as a server-side dry run."""
    metadata = {**item["metadata"], **({"namespace": namespace} if "namespace" in item["metadata"] else {})}
    how = "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"
    cluster.kubectl("apply", *how, "--filename", "-", stdin=json.dumps({**item, "metadata": metadata}))


@each_case
def test_every_object_is_accepted(case: Path, render: Render, cluster: Cluster, restricted: str) -> None:
    objects = [item for item in render(values_of(case)) if item["kind"] != "Pod"]
    for item in objects:
        try_out(cluster, restricted, item)


@each_case
def test_every_pod_is_restricted(case: Path, render: Render, cluster: Cluster, restricted: str) -> None:
    pods = pods_of(render(values_of(case)))
    assert len(pods) == 2
    for name, pod in pods.items():
        # The service account does not exist here and is irrelevant for this test.
        spec = {key: value for key, value in pod["spec"].items() if key != "serviceAccountName"}
        metadata = {"name": name, "namespace": restricted, "labels": pod["metadata"]["labels"]}
        try_out(cluster, restricted, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_tenants_may_read_runtimes_and_nothing_else_of_the_cluster(
    render: Render, cluster: Cluster, restricted: str
) -> None:
    objects = [item for kind in ("ClusterRole", "ClusterRoleBinding") for item in of_kind(render({}), kind)]
    made = [item for item in objects if item["metadata"]["name"].endswith("-runtimes-view")]
    assert [item["kind"] for item in made] == ["ClusterRole", "ClusterRoleBinding"]

    def may(verb: str, what: str) -> bool:
        who = f"--as={restricted}-tenant", "--as-group=system:authenticated"
        try:
            cluster.kubectl("auth", "can-i", verb, what, *who)
        except AssertionError:
            return False
        return True

    assert not may("list", "dreamboothruntimes.dreambooth.io")
    names = [f"{restricted}-{item['metadata']['name']}" for item in made]
    try:
        for name, item in zip(names, made, strict=True):
            renamed: dict[str, Any] = {**item, "metadata": {**item["metadata"], "name": name}}
            if "roleRef" in renamed:
                renamed["roleRef"] = {**renamed["roleRef"], "name": names[0]}
            cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(renamed))
        deadline = time.monotonic() + PATIENCE
        while not may("list", "dreamboothruntimes.dreambooth.io"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert may("get", "dreamboothruntimes.dreambooth.io")
        assert not may("create", "dreamboothruntimes.dreambooth.io")
        assert not may("list", "dreamboothjobs.dreambooth.io")
    finally:
        for kind, name in zip(("clusterrole", "clusterrolebinding"), names, strict=True):
            cluster.kubectl("delete", kind, name, "--ignore-not-found")


def is_aggregated(role: dict[str, Any]) -> bool:
    return any("aggregate-to" in label for label in role["metadata"]["labels"])


def test_users_get_permissions_through_aggregated_roles(render: Render, cluster: Cluster, restricted: str) -> None:
    roles = [item for item in of_kind(render({}), "ClusterRole") if is_aggregated(item)]
    names = [f"{restricted}-{item['metadata']['name']}" for item in roles]
    assert len(names) == 2
    for level in ("view", "edit", "admin"):
        cluster.kubectl("create", "rolebinding", level, f"--clusterrole={level}", f"--user={level}", "-n", restricted)

    def may(verb: str, level: str) -> bool:
        try:
            cluster.kubectl("auth", "can-i", verb, "dreamboothjobs.dreambooth.io", f"--as={level}", "-n", restricted)
        except AssertionError:
            return False
        return True

    try:
        for name, role in zip(names, roles, strict=True):
            item = {**role, "metadata": {**role["metadata"], "name": name}}
            cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(item))
        deadline = time.monotonic() + PATIENCE
        while not (may("list", "view") and may("create", "edit") and may("delete", "admin")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert may("list", "edit") and may("watch", "admin")
        assert not may("create", "view")
    finally:
        cluster.kubectl("delete", "clusterrole", *names)
