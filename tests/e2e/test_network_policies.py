"""A network plugin that enforces NetworkPolicies: what must work works, and what they forbid is blocked."""

from typing import Any

import pytest

from tests.cluster.firewall import enforced_network_policies
from tests.cluster.layout import API_SERVICE
from tests.conftest import Cluster
from tests.e2e.installation import NAMESPACE, RELEASE
from tests.e2e.tenant import Tenant, small
from tests.patience import PATIENCE

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
SERVE = "python", "-m", "http.server", "8000"
METRICS, PROGRESS = 9090, 8080


def address_of(pod: dict[str, Any]) -> str:
    return str(pod["status"]["podIP"])


def connects(cluster: Cluster, namespace: str, pod: str, host: str, port: int) -> bool:
    """Whether a process in a pod can connect to a port."""
    try:
        cluster.kubectl("exec", f"--namespace={namespace}", pod, "--", "python", "-c", CONNECT, host, str(port))
    except AssertionError as error:
        assert any(words in str(error) for words in ("timed out", "refused", "unreachable")), error
        return False
    return True


def test_enforced_network_policies(tenant: Tenant) -> None:
    cluster = tenant.cluster
    if cluster.binaries is None:
        pytest.skip("only the test cluster may get another packet filter")
    tenant.apply(small(training={"steps": 100_000}, checkpoints={"intervalSeconds": 600}))
    tenant.until(lambda status: status.get("progress", {}).get("step", 0) > 0)
    (trainer,) = tenant.pods()

    def operator() -> tuple[str, str]:
        """Name and address of a ready replica."""
        labels = f"--selector=app.kubernetes.io/name=dreambooth-operator,app.kubernetes.io/instance={RELEASE}"
        pods = [
            pod
            for pod in cluster.items("pods", f"--namespace={NAMESPACE}", labels)
            if "deletionTimestamp" not in pod["metadata"]
        ]
        return pods[0]["metadata"]["name"], address_of(pods[0])

    with tenant.pod("other", *SERVE) as other:

        def allowed() -> dict[str, bool]:
            own, (replica, at) = trainer["metadata"]["name"], operator()
            return {
                "anyone to the trainer": connects(cluster, tenant.name, "other", address_of(trainer), PROGRESS),
                "anyone to the operator": connects(cluster, tenant.name, "other", at, METRICS),
                "the trainer to others": connects(cluster, tenant.name, own, address_of(other), 8000),
                "the trainer to the API server": connects(cluster, tenant.name, own, "kubernetes.default", 443),
                "the operator to others": connects(cluster, NAMESPACE, replica, address_of(other), 8000),
                "the operator to the API server": connects(cluster, NAMESPACE, replica, API_SERVICE, 443),
                "the operator to the trainer": connects(cluster, NAMESPACE, replica, address_of(trainer), PROGRESS),
            }

        assert all(allowed().values()), "without enforcement"
        with enforced_network_policies():
            assert {name for name, is_allowed in allowed().items() if is_allowed} == {
                "the operator to the API server",
                "the operator to the trainer",
            }
            # New replicas connect to the API server, and one of them polls the trainer.
            cluster.kubectl("rollout", "restart", f"deployment/{RELEASE}", f"--namespace={NAMESPACE}")
            cluster.kubectl(
                *("rollout", "status", f"deployment/{RELEASE}", f"--namespace={NAMESPACE}", f"--timeout={PATIENCE}s")
            )
            step = tenant.status()["progress"]["step"]
            tenant.until(lambda status: status["progress"]["step"] > step)
            cluster.helm("test", RELEASE, "--namespace", NAMESPACE, "--timeout", f"{PATIENCE}s")
            # Pods of two nodes find each other by DNS and train together.
            tenant.apply(small(resources={"nodes": 2}, volumes={"output": {"create": {"size": "1Gi"}}}), name="two")
            tenant.until_phase("Complete", name="two")
